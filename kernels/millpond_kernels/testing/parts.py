"""Substitutes for modules of a model, for tests of kernels of fused ops."""

from dataclasses import dataclass

from torch import Tensor

from millpond.nn import AttentionSpec, PackedBatch
from millpond.testing.kernel_cases import Kernel


class LinearModule:
    """A ``Linear`` with given weights.

    Attributes:
        map: The kernel, constructed with the weights.
        bias: [outputs], or None.
    """

    def __init__(self, kernel: Kernel, weight: Tensor, bias: Tensor | None) -> None:
        self.map = kernel(weight, bias)
        self.bias = bias

    def __call__(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[rows, inputs] -> [rows, outputs]."""
        mapped: Tensor = self.map(x, add_bias=add_bias)
        return mapped


@dataclass
class AttentionModule:
    """An ``Attention`` without biases."""

    kernel: Kernel
    spec: AttentionSpec

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch) -> Tensor:
        """[num_tokens, heads, head_dim] three times -> [num_tokens, heads * head_dim]."""
        attended: Tensor = self.kernel(query, key, value, batch, self.spec).flatten(1)
        return attended
