"""Pooling without stop words. Other packages supply the words of their languages."""
