"""Activations of pooled tensors: [..., dim] -> [..., dim]. Results do not depend on the batch, bit for bit."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_NORM = 1e-12  # the default of torch.nn.functional.normalize, which sentence-transformers uses


def identity(x: Tensor) -> Tensor:
    """Return the tensor unchanged."""
    return x


def normalize(x: Tensor) -> Tensor:
    """Divide each vector by its Euclidean length; a kernel of the op ``normalize`` replaces this function."""
    return functional.normalize(x, dim=-1, eps=MIN_NORM)


def softmax(x: Tensor) -> Tensor:
    """Return probabilities over the last dimension."""
    return torch.softmax(x, dim=-1)


def sigmoid(x: Tensor) -> Tensor:
    """Map each value to an independent probability."""
    return in_float64(torch.sigmoid, x)


def tanh(x: Tensor) -> Tensor:
    """Return the hyperbolic tangent of each value."""
    return in_float64(torch.tanh, x)


def relu(x: Tensor) -> Tensor:
    """Replace negative values by 0."""
    return torch.relu(x)


def gelu(x: Tensor) -> Tensor:
    """Return the exact Gaussian error linear unit of each value."""
    return in_float64(functional.gelu, x)


def silu(x: Tensor) -> Tensor:
    """Return the sigmoid linear unit of each value."""
    return in_float64(functional.silu, x)


def in_float64(function: "Callable[[Tensor], Tensor]", x: Tensor) -> Tensor:
    """Compute an elementwise function in float64 and round the result.

    In float32, torch's vectorized code and its scalar code for the remaining values differ in the last bit, so that the
    result of a value would depend on its position in the batch.
    """
    return function(x.double()).to(x.dtype)
