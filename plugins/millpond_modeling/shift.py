"""Shifted rows of a packed batch for convolutions, which never read across the boundary of a sequence."""

import torch
from torch import Tensor

from millpond.nn import PackedBatch


def shifted(x: Tensor, batch: PackedBatch, by: int) -> Tensor:
    """Return for each token the row of the token ``by`` positions after it; zeros beyond the ends of its sequence.

    Args:
        x: [num_tokens, size].
        batch: The batch that the rows belong to.
        by: The number of positions; negative for earlier tokens.

    Returns:
        [num_tokens, size].
    """
    if by == 0:
        return x
    positions = batch.positions + by
    inside = (positions >= 0) & (positions < batch.length_of_each_token)
    rows = (torch.arange(len(x), device=x.device) + by).clamp(0, len(x) - 1)
    return torch.where(inside.unsqueeze(1), x[rows], x.new_zeros(()))
