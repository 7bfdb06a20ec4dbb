"""Gemma, first to third version."""
