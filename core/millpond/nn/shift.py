"""Neighbours of tokens in a packed batch: what convolutions read, without a step over the edge of a sequence."""

import torch
from torch import Tensor

from millpond.nn.batch import PackedBatch


def shifted(x: Tensor, batch: PackedBatch, by: int) -> Tensor:
    """For each token the row of the token ``by`` places after it; zeros where its sequence has none there.

    Args:
        x: [num_tokens, size].
        batch: The batch that the rows belong to.
        by: A number of places; negative for tokens before it.

    Returns:
        [num_tokens, size].
    """
    if by == 0:
        return x
    there = batch.positions + by
    inside = (there >= 0) & (there < batch.length_of_each_token)
    rows = (torch.arange(len(x), device=x.device) + by).clamp(0, len(x) - 1)
    return torch.where(inside.unsqueeze(1), x[rows], x.new_zeros(()))
