"""Kernels of normalization layers."""
