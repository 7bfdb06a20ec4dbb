"""Caches of results: in memory and on disk."""
