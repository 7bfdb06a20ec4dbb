"""The arguments that kernels of the built-in ops are tested with, named by the records of the reference kernels."""
