"""Kernels of feed-forward blocks and of their activations."""
