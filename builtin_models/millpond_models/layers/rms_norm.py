"""RMSNorm (Zhang and Sennrich, 2019, arXiv 1910.07467)."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from millpond.context import Context


class RMSNorm(nn.Module):
    """Divides by the root mean square over the last dimension, then scales, by the op ``rms_norm``."""

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
    """RMSNorm with weights stored as offsets from 1, as in Gemma."""

    def __init__(self, ctx: Context, size: int, eps: float) -> None:
        super().__init__(replace(ctx, dtype=torch.float32), size, eps)

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]; computed in float32, because 16 bits would round off small offsets."""
        normed: Tensor = self.kernel(x.float(), 1 + self.weight.float(), self.eps)
        return normed.to(x.dtype)
