"""Activations of pooled tensors: [..., dim] -> [..., dim]. A row's result is the same to the bit in any batch."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

SMALLEST_NORM = 1e-12  # that of torch.nn.functional.normalize, and so of sentence-transformers


def identity(x: Tensor) -> Tensor:
    """The tensor as it is."""
    return x


def normalize(x: Tensor) -> Tensor:
    """Each vector divided by its Euclidean length. Where the op ``normalize`` is brought, that computes it."""
    return functional.normalize(x, dim=-1, eps=SMALLEST_NORM)


def softmax(x: Tensor) -> Tensor:
    """Probabilities over the last dimension."""
    return torch.softmax(x, dim=-1)


def sigmoid(x: Tensor) -> Tensor:
    """Each value as a probability of its own."""
    return _finely(torch.sigmoid, x)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent of each value."""
    return _finely(torch.tanh, x)


def relu(x: Tensor) -> Tensor:
    """Each value, or 0 where it is negative."""
    return torch.relu(x)


def gelu(x: Tensor) -> Tensor:
    """The exact Gaussian error linear unit of each value."""
    return _finely(functional.gelu, x)


def silu(x: Tensor) -> Tensor:
    """The sigmoid linear unit of each value."""
    return _finely(functional.silu, x)


def _finely(function: "Callable[[Tensor], Tensor]", x: Tensor) -> Tensor:
    """A function of each value, computed in float64 and rounded.

    In float32, what torch computes in whole vectors and what remains behind them differ in the last bit, so that a
    value's result would depend on its place in the batch.
    """
    return function(x.double()).to(x.dtype)
