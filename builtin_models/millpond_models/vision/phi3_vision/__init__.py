"""Phi-3-vision."""
