"""Linear: a linear layer that calls the op ``linear``, or several fused layers with the same input."""

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.context import ModelContext


class Linear(nn.Module):
    """``x @ weight.T + bias``; several layers with the same input are stored and computed as one.

    Attributes:
        shards: The rows (start, stop) of ``weight`` and ``bias`` that belong to each of the fused layers.
        weight: [sum of out_features, in_features]; None after ``prepare``, when the kernel keeps the weights.
        bias: [sum of out_features], or None.
        dtype: The dtype of the bias and of the results.
        weight_dtype: The dtype of the weights that the kernel receives.
        converted_by_prepare: The parameters that are loaded in the dtype of the checkpoint, because the kernel may
            convert them to another one.
    """

    converted_by_prepare: ClassVar = ("weight",)

    def __init__(self, ctx: "ModelContext", in_features: int, *out_features: int, bias: bool = True) -> None:
        super().__init__()
        stops = tuple(accumulate(out_features, initial=0))
        self.shards = tuple(pairwise(stops))
        self.weight: nn.Parameter | None = nn.Parameter(torch.empty(stops[-1], in_features), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(stops[-1]), requires_grad=False) if bias else None
        self.dtype, self.weight_dtype = ctx.dtype, ctx.weight_dtype
        self.kernel = ctx.op("linear")
        self.map: Callable[..., Tensor] | None = None

    def prepare(self) -> None:
        """Pass the loaded weights to the kernel, which may store them in another layout and keeps the only copy."""
        weight = self._convert()
        self.weight = None  # first, so that the loaded weights do not take memory beside the two copies
        self.map = self.kernel(weight, self.bias)

    def forward(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[num_tokens, in_features] -> [num_tokens, sum of out_features].

        Args:
            x: The input.
            add_bias: True to add the bias; False if the next op adds it.
        """
        mapped = self.map
        if mapped is None:  # a model that was built without the weight loader
            mapped = self.map = self.kernel(self._convert(), self.bias)
        return mapped(x, add_bias=add_bias)

    def _convert(self) -> Tensor | None:
        return None if self.weight is None else self.weight.to(self.weight_dtype)
