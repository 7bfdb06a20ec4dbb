"""Kernels of the ops ``attention`` and ``rotary``."""
