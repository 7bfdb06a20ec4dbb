"""Scoring of queries and documents with cross-encoders, bi-encoders and late interaction."""
