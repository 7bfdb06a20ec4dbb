"""Linear: a linear map through the op ``linear``, or several that share their input, fused."""

from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from millpond.context import Context


class Linear(nn.Module):
    """``x @ weight.T + bias``; several maps of the same input are stored and computed as one.

    Attributes:
        parts: The rows of ``weight`` and ``bias`` that belong to each of the fused maps; read by the weight loader.
    """

    def __init__(self, ctx: Context, in_features: int, *out_features: int, bias: bool = True) -> None:
        super().__init__()
        stops = tuple(accumulate(out_features, initial=0))
        self.parts = tuple(pairwise(stops))
        self.weight = nn.Parameter(torch.empty(stops[-1], in_features), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(stops[-1]), requires_grad=False) if bias else None
        self.kernel = ctx.op("linear")

    def forward(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[num_tokens, in_features] -> [num_tokens, sum of out_features].

        Args:
            x: The input.
            add_bias: Whether the bias is added here; else it is left to the op that follows.
        """
        output: Tensor = self.kernel(x, self.weight, self.bias if add_bias else None)
        return output
