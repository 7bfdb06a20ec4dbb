"""Kernels of normalisation layers."""
