"""Kernels of the op ``linear``: in torch, compiled, and with weights in 8-bit integers."""
