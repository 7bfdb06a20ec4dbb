"""Mixture of experts: a router selects a few feed-forward networks for each token."""

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond.types.errors import CheckpointError
from millpond_models.layers.feed_forward import FeedForward


class Experts(nn.Module):
    """The sum of the ``top`` experts of each token, weighted by a softmax over all experts without renormalization.

    The router is not quantized: small errors could select a different expert.

    Args:
        ctx: The model's context.
        size: Hidden size.
        inner_size: Inner size of an expert.
        activation: The activation of the experts.
        count: Number of experts.
        top: Number of experts per token.

    Raises:
        CheckpointError: If ``top`` is not between 1 and ``count``.
    """

    def __init__(self, ctx: Context, *, size: int, inner_size: int, activation: str, count: int, top: int) -> None:
        super().__init__()
        if not 1 <= top <= count:
            message = f"config.json: moe_top_k {top} must be between 1 and num_experts {count}"
            raise CheckpointError(message)
        self.top = top
        self.router = Linear(ctx.unquantized(), size, count, bias=False)
        self.experts = nn.ModuleList(
            FeedForward(ctx, size=size, inner_size=inner_size, activation=activation, bias=False) for _ in range(count)
        )
        self.bias = nn.Parameter(torch.empty(size), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], without the bias."""
        weights, experts = self.router(x).float().softmax(dim=-1).topk(self.top, dim=-1)
        # Sorted by expert, then by row. Reading the counts is the only wait for the device.
        order = experts.flatten().argsort(stable=True)
        numbers = torch.arange(len(self.experts), device=x.device)
        counts: list[int] = (experts.flatten() == numbers.unsqueeze(1)).sum(dim=1).tolist()
        sorted_weights = weights.flatten()[order].unsqueeze(1).to(x.dtype)
        total = torch.zeros_like(x)
        parts = zip(self.experts, (order // self.top).split(counts), sorted_weights.split(counts), strict=True)
        for expert, rows, factors in parts:
            if len(rows):
                # An expert has each row at most once: the order of summation does not depend on the batch.
                total.index_add_(0, rows, expert(x[rows]) * factors)
        return total

    @property
    def last_bias(self) -> Tensor:
        """The bias of the sum, which the following norm adds."""
        return self.bias
