"""Kernels of ops after the model: pooling, normalization, sparse vectors, late interaction."""
