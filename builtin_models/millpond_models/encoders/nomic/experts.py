"""A feed-forward half of several, of which each token takes the few that a router gives most weight."""

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond.types.errors import CheckpointError
from millpond_models.layers.feed_forward import FeedForward


class Experts(nn.Module):
    """The sum of ``top`` experts, each times its share of a softmax over all, which is not brought to 1 again.

    The router is not quantised: a small error there would send a token to another expert.

    Args:
        ctx: The model's context.
        size: The dimensions of hidden states.
        inner_size: Those within an expert.
        activation: The activation of every expert.
        count: How many experts there are.
        top: How many a token takes.

    Raises:
        CheckpointError: If a token cannot take so many.
    """

    def __init__(self, ctx: Context, *, size: int, inner_size: int, activation: str, count: int, top: int) -> None:
        super().__init__()
        if not 1 <= top <= count:
            message = f"config.json: a token cannot take moe_top_k {top} of num_experts {count}"
            raise CheckpointError(message)
        self.top = top
        self.router = Linear(ctx.unquantized(), size, count, bias=False)
        self.experts = nn.ModuleList(
            FeedForward(ctx, size=size, inner_size=inner_size, activation=activation, bias=False) for _ in range(count)
        )
        self.bias = nn.Parameter(torch.empty(size), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], the bias not yet added."""
        shares, chosen = self.router(x).float().softmax(dim=-1).topk(self.top, dim=-1)
        total = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows, places = torch.where(chosen == number)
            if len(rows):
                # Each row is there once, so that the order of the sum is that of the experts, whatever the batch.
                total.index_add_(0, rows, expert(x[rows]) * shares[rows, places].unsqueeze(1).to(x.dtype))
        return total

    @property
    def last_bias(self) -> Tensor:
        """The bias of the sum, which is left to the norm behind this."""
        return self.bias
