"""RMSNorm: rows divided by their root mean square (Zhang and Sennrich, 2019, arXiv 1910.07467)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """Normalises over the last dimension, then scales."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size), requires_grad=False)
        self.shape = (size,)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]."""
        return functional.rms_norm(x, self.shape, self.weight, self.eps)


class OffsetRMSNorm(RMSNorm):
    """RMSNorm whose weights are what is added to 1."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]; in float32, since 16 bits would round off most of a small offset."""
        normed = functional.rms_norm(x.float(), self.shape, 1 + self.weight.float(), self.eps)
        return normed.to(x.dtype)
