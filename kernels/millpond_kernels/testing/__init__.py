"""Test cases of the kernels of the built-in ops."""
