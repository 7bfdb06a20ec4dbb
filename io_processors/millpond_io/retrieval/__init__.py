"""Queries and documents that a model reads differently, and its vectors of tokens."""
