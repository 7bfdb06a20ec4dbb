"""LayerNorm, alone and of a sum with the residual stream."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from millpond.context import Context


class LayerNorm(nn.Module):
    """Normalises over the last dimension, then scales and, if there is a bias, shifts (Ba et al., 2016)."""

    def __init__(self, size: int, eps: float, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(size), requires_grad=False) if bias else None
        self.shape = (size,)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        return functional.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


class ResidualLayerNorm(LayerNorm):
    """LayerNorm of ``x + bias + residual``, where ``bias`` is that of the linear map that made x, if it has one."""

    def __init__(self, ctx: Context, size: int, eps: float) -> None:
        super().__init__(size, eps)
        self.kernel = ctx.op("layer_norm_residual")

    def forward(self, x: Tensor, bias: Tensor | None, residual: Tensor) -> Tensor:  # type: ignore[override]  # a sum
        """[num_tokens, size], [size], [num_tokens, size] -> [num_tokens, size]; x may be overwritten."""
        bias = x.new_zeros(self.shape) if bias is None else bias
        normed: Tensor = self.kernel(x, bias, residual, self.weight, self.bias, self.eps)
        return normed

    def arguments(self, bias: Tensor | None) -> tuple[Tensor | None, Tensor, Tensor | None, float]:
        """The arguments of the kernel beside x and the residual, where ``bias`` is that of the map before."""
        return bias, self.weight, self.bias, self.eps
