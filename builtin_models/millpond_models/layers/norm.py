"""LayerNorm, and LayerNorm with a residual connection."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from millpond.context import Context


class LayerNorm(nn.Module):
    """Normalizes over the last dimension, then scales and optionally shifts (Ba et al., 2016, arXiv 1607.06450)."""

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
    """LayerNorm of ``x + bias + residual``, where ``bias`` is the deferred bias of the preceding linear layer."""

    def __init__(self, ctx: Context, size: int, eps: float) -> None:
        super().__init__(size, eps)
        self.kernel = ctx.op("layer_norm_residual")

    def forward(self, x: Tensor, bias: Tensor | None, residual: Tensor) -> Tensor:  # type: ignore[override]  # a sum
        """[num_tokens, size], [size], [num_tokens, size] -> [num_tokens, size]; x may be overwritten."""
        bias = x.new_zeros(self.shape) if bias is None else bias
        normed: Tensor = self.kernel(x, bias, residual, self.weight, self.bias, self.eps)
        return normed

    def arguments(self, bias: Tensor | None) -> tuple[Tensor | None, Tensor, Tensor | None, float]:
        """Return the arguments of the kernel except x and the residual; ``bias`` is that of the preceding layer."""
        return bias, self.weight, self.bias, self.eps
