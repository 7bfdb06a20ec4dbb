"""Comparison of a model's results with those of sentence-transformers or transformers: ``millpond verify``."""
