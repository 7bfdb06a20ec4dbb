"""Kernels of ops after the model: pooling, normalisation, sparse vectors, late interaction."""
