"""Scores of queries and documents: cross-encoders, bi-encoders, and late interaction."""
