"""Linear: a linear map through the op ``linear``, or several that share their input, fused."""

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.context import ModelContext


class Linear(nn.Module):
    """``x @ weight.T + bias``; several maps of the same input are stored and computed as one.

    Attributes:
        parts: The rows of ``weight`` and ``bias`` that belong to each of the fused maps; read by the weight loader.
        weight: [sum of out_features, in_features]; None once the kernel keeps the weights its own way.
        bias: [sum of out_features], or None.
        dtype: What the weights are kept in.
    """

    def __init__(self, ctx: "ModelContext", in_features: int, *out_features: int, bias: bool = True) -> None:
        super().__init__()
        stops = tuple(accumulate(out_features, initial=0))
        self.parts = tuple(pairwise(stops))
        self.weight: nn.Parameter | None = nn.Parameter(torch.empty(stops[-1], in_features), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(stops[-1]), requires_grad=False) if bias else None
        self.dtype = ctx.dtype
        self.kernel = ctx.op("linear")
        self.map: Callable[..., Tensor] | None = None

    def prepare(self) -> None:
        """Hand the weights, which have arrived, to the kernel; it may lay them out anew, and they are kept once."""
        self.map = self.kernel(self.weight, self.bias)
        self.weight = None

    def forward(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[num_tokens, in_features] -> [num_tokens, sum of out_features].

        Args:
            x: The input.
            add_bias: Whether the bias is added here; else it is left to the op that follows.
        """
        mapped = self.map
        if mapped is None:  # a model that was not loaded but put together by hand
            mapped = self.map = self.kernel(self.weight, self.bias)
        return mapped(x, add_bias=add_bias)
