"""Activations whose results do not depend on the position of a value in its tensor.

torch computes the end of each thread's share of a tensor with different instructions, and its own activations round
differently there; erf, exp and tanh do not. All functions compute in float32.
"""

from math import pi, sqrt

from torch import Tensor

MISH_IDENTITY_FROM = 20.0  # mish(x) equals x in float32 from here on


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return x.float().neg().exp_().add_(1).reciprocal_().to(x.dtype)


def silu(x: Tensor) -> Tensor:
    """``x / (1 + exp(-x))``."""
    full = x.float()
    return (full / full.neg().exp_().add_(1)).to(x.dtype)


def gelu(x: Tensor) -> Tensor:
    """``x / 2 * (1 + erf(x / sqrt(2)))``."""
    full = x.float()
    return (0.5 * full * (full * sqrt(0.5)).erf_().add_(1)).to(x.dtype)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its approximation with tanh (Hendrycks and Gimpel, 2016, arXiv 1606.08415)."""
    full = x.float()
    inner = (full + 0.044715 * full * full * full).mul_(sqrt(2 / pi)).tanh_()
    return (0.5 * full * inner.add_(1)).to(x.dtype)


def quick_gelu(x: Tensor) -> Tensor:
    """GELU by its approximation with a sigmoid (same source): ``x / (1 + exp(-1.702 * x))``."""
    full = x.float()
    return (full / (-1.702 * full).exp_().add_(1)).to(x.dtype)


def mish(x: Tensor) -> Tensor:
    """``x * tanh(log(1 + exp(x)))`` (Misra, 2019, arXiv 1908.08681), as ``x * n / (n + 2)`` of ``n = e * (e + 2)``."""
    full = x.float()
    grown = full.clamp(max=MISH_IDENTITY_FROM).exp_()
    n = grown * (grown + 2)
    return (full * n / (n + 2)).to(x.dtype)
