"""Semantic search in files: passages, the index beside a file, and the ranking of passages."""
