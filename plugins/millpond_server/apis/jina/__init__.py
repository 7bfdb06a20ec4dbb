"""Jina's API."""
