"""Jina's BERT with linear biases."""
