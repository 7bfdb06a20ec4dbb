"""The op ``splade``: hidden states to one weight per token of the vocabulary (Formal et al., 2021, arXiv 2107.05720).

The logits of a vocabulary are large: 30,000 values per token, 31 MB for a text of 256 tokens. All variants have
the same arguments and results; see ``splade_torch``.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from millpond_kernels.pooling.segment_pool import offsets_of, segment_max

How = Literal["max", "sum"]
Head = Callable[[Tensor], Tensor]
BLOCK_ROWS = 128  # rows whose logits are in memory at a time: 16 MB for a vocabulary of 30,000


def splade_torch(x: Tensor, lengths: Sequence[int], head: Head, how: How, *, log_again: bool = False) -> Tensor:
    """Return the maximum or sum of ``log(1 + relu(logit))`` of each sequence, in plain torch: the reference.

    The logits of one sequence are in memory at a time.

    Args:
        x: Hidden states of concatenated sequences, [num_tokens, hidden].
        lengths: The number of rows of each sequence, at least 1, on the host.
        head: Hidden states in float32 to logits, [rows, hidden] -> [rows, vocabulary].
        how: The reduction of a sequence's rows.
        log_again: True to apply the logarithm twice (Geng et al., 2025, arXiv 2504.14839).

    Returns:
        [num_seqs, vocabulary], float32.

    Raises:
        ValueError: If the lengths do not match x, or ``how`` is unknown.
    """
    _check(x, lengths, how)
    weights = (_saturated(head(rows.float()).relu(), log_again=log_again) for rows in x.split(list(lengths)))
    return torch.stack([rows.amax(dim=0) if how == "max" else rows.sum(dim=0) for rows in weights])


def splade_blocks(x: Tensor, lengths: Sequence[int], head: Head, how: How, *, log_again: bool = False) -> Tensor:
    """Like ``splade_torch``, in blocks: the logits of at most 128 rows are in memory at a time.

    The logarithm is monotonic, so for maxima it is applied once, at the end. The blocks of a sequence do not depend on
    other sequences, so its sum does not either.
    """
    _check(x, lengths, how)
    parts = _parts(lengths)
    pooled: Tensor | None = None
    for start, first, counts in _blocks(parts):
        logits = head(x[start : start + sum(counts)].float())
        if pooled is None:
            pooled = logits.new_zeros(len(lengths), logits.shape[-1])
        if how == "max":
            for (sequence, _), row in zip(parts[first:], segment_max(logits, counts), strict=False):
                torch.maximum(pooled[sequence], row, out=pooled[sequence])
        else:
            weights = _saturated(logits.relu(), log_again=log_again)
            for (sequence, _), rows in zip(parts[first:], weights.split(counts), strict=False):
                pooled[sequence] += rows.sum(dim=0)
        del logits  # before the next block, to limit memory
    if pooled is None:
        message = "splade: expected at least one sequence"
        raise ValueError(message)
    return _saturated(pooled, log_again=log_again) if how == "max" else pooled


def _check(x: Tensor, lengths: Sequence[int], how: str) -> None:
    offsets_of(lengths, x)
    if how not in ("max", "sum"):
        message = f"splade: unknown reduction {how!r}. Available: 'max', 'sum'"
        raise ValueError(message)


def _saturated(positive: Tensor, *, log_again: bool) -> Tensor:
    weights = torch.log1p(positive)
    return torch.log1p(weights) if log_again else weights


def _parts(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Split sequences into parts of at most ``BLOCK_ROWS`` rows: (sequence, number of rows)."""
    return [
        (sequence, min(BLOCK_ROWS, length - start))
        for sequence, length in enumerate(lengths)
        for start in range(0, length, BLOCK_ROWS)
    ]


def _blocks(parts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, list[int]]]:
    """Yield blocks of consecutive parts: (first row, index of the first part, number of rows of each part)."""
    starts = list(accumulate((length for _, length in parts), initial=0))
    first = 0
    for index in range(1, len(parts) + 1):
        if index == len(parts) or starts[index + 1] - starts[first] > BLOCK_ROWS:
            yield starts[first], first, [length for _, length in parts[first:index]]
            first = index
