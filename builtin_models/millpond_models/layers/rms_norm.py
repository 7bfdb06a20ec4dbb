"""RMSNorm: rows divided by their root mean square (Zhang and Sennrich, 2019, arXiv 1910.07467)."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from millpond.context import Context


class RMSNorm(nn.Module):
    """Normalises over the last dimension, then scales, through the op ``rms_norm``."""

    def __init__(self, ctx: Context, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size), requires_grad=False)
        self.shape = (size,)
        self.eps = eps
        self.kernel = ctx.op("rms_norm")

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]."""
        normed: Tensor = self.kernel(x, self.weight, self.eps)
        return normed


class OffsetRMSNorm(RMSNorm):
    """RMSNorm whose weights are what is added to 1."""

    def __init__(self, ctx: Context, size: int, eps: float) -> None:
        super().__init__(replace(ctx, dtype=torch.float32), size, eps)

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]; in float32, since 16 bits would round off most of a small offset."""
        normed: Tensor = self.kernel(x.float(), 1 + self.weight.float(), self.eps)
        return normed.to(x.dtype)
