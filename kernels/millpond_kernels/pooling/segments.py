"""Concatenated sequences: their offsets and their maxima."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor


def offsets_of(lengths: Sequence[int], rows: Tensor, name: str = "x") -> tuple[int, ...]:
    """Return the start of each sequence, followed by the end of the last.

    Args:
        lengths: The number of rows of each sequence.
        rows: The concatenated sequences, [num_rows, ...].
        name: The name of the tensor in errors.

    Raises:
        ValueError: If no sequence or an empty one is passed, or the lengths do not match the tensor.
    """
    offsets = tuple(accumulate(lengths, initial=0))
    if offsets[-1] != len(rows) or min(lengths, default=0) < 1:
        message = (
            f"lengths must be at least 1 and add up to the {len(rows)} rows of {name}; got {len(lengths)} lengths with "
            f"the sum {offsets[-1]} and the minimum {min(lengths, default=0)}"
        )
        raise ValueError(message)
    return offsets


def segment_max(rows: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the maximum of each column over the rows of each sequence: [num_rows, n] -> [num_seqs, n]; NaN is kept."""
    if len(lengths) == 1:
        return rows.amax(dim=0, keepdim=True)
    if rows.device.type == "cpu":  # ten times as fast on CPUs as segment_reduce, which saves launches on accelerators
        return torch.stack([part.amax(dim=0) for part in rows.split(list(lengths))])
    return torch.segment_reduce(rows, "max", lengths=torch.tensor(lengths, device=rows.device), axis=0, unsafe=True)
