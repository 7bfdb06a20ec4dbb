"""Kernels of the op ``encoder_layer``."""
