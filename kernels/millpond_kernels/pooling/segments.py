"""Sequences end to end in one tensor: where each begins, and the largest values of each."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor


def offsets_of(lengths: Sequence[int], rows: Tensor, name: str = "x") -> tuple[int, ...]:
    """Where each sequence starts, and where the last ends: one number more than there are lengths.

    Args:
        lengths: The rows of each sequence.
        rows: The tensor they lie in, [num_rows, ...].
        name: What the tensor is called in an error.

    Raises:
        ValueError: If there is no sequence, or an empty one, or the lengths are not those of the tensor: a kernel would
            read elsewhere.
    """
    offsets = tuple(accumulate(lengths, initial=0))
    if offsets[-1] != len(rows) or min(lengths, default=0) < 1:
        message = (
            f"lengths must be 1 or more each and add up to the {len(rows)} rows of {name}; "
            f"these {len(lengths)} add up to {offsets[-1]}, the smallest of them is {min(lengths, default=0)}"
        )
        raise ValueError(message)
    return offsets


def segment_max(rows: Tensor, lengths: Sequence[int]) -> Tensor:
    """The largest value of each column over the rows of each sequence: [num_rows, n] -> [num_seqs, n]; NaN wins."""
    if len(lengths) == 1:
        return rows.amax(dim=0, keepdim=True)
    if rows.device.type == "cpu":  # ten times as fast there as the op for segments, which saves launches elsewhere
        return torch.stack([part.amax(dim=0) for part in rows.split(list(lengths))])
    return torch.segment_reduce(rows, "max", lengths=torch.tensor(lengths, device=rows.device), axis=0, unsafe=True)
