"""The format of sentence-transformers: its files and its modules."""
