"""Nomic's BERT."""
