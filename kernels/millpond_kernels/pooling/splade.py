"""The op ``splade``: from hidden states to one weight a token of the vocabulary (Formal et al. 2021, arXiv 2107.05720).

The logits of a vocabulary are large: 30,000 numbers a token, 31 MB for a text of 256 tokens. All variants take and give
the same; see ``splade_torch``.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from millpond_kernels.pooling.segments import offsets_of, segment_max

How = Literal["max", "sum"]
Head = Callable[[Tensor], Tensor]
ROWS_AT_ONCE = 128  # whose logits are there at a time: 16 MB for 30,000 tokens


def splade_torch(x: Tensor, lengths: Sequence[int], head: Head, how: How, *, log_again: bool = False) -> Tensor:
    """The largest ``log(1 + relu(logit))`` of each sequence, or the sum of them, in plain torch: the yardstick.

    It holds the logits of one sequence at a time.

    Args:
        x: Hidden states, sequences end to end, [num_tokens, hidden].
        lengths: The rows of each sequence, at least one, on the host.
        head: Hidden states in float32 to logits, [rows, hidden] -> [rows, vocabulary].
        how: What becomes of a sequence's rows.
        log_again: Whether the logarithm is taken twice (Geng et al. 2025, arXiv 2504.14839).

    Returns:
        [num_seqs, vocabulary], float32.

    Raises:
        ValueError: If the lengths are not those of x, or ``how`` is no way to reduce.
    """
    _check(x, lengths, how)
    weights = (_saturated(head(rows.float()).relu(), log_again=log_again) for rows in x.split(list(lengths)))
    return torch.stack([rows.amax(dim=0) if how == "max" else rows.sum(dim=0) for rows in weights])


def splade_blocks(x: Tensor, lengths: Sequence[int], head: Head, how: How, *, log_again: bool = False) -> Tensor:
    """The same by blocks of rows: it holds the logits of 128 rows at a time, however many there are.

    The logarithm keeps order, so that of the largest logit is the largest: it is taken once, at the end. Where a
    sequence is cut into blocks does not depend on the others, so that its sum does not either. See ``splade_torch`` for
    the arguments.
    """
    _check(x, lengths, how)
    parts = _parts(lengths)
    found: Tensor | None = None
    for start, first, counts in _blocks(parts):
        logits = head(x[start : start + sum(counts)].float())
        if found is None:
            found = logits.new_zeros(len(lengths), logits.shape[-1])
        if how == "max":
            for (place, _), row in zip(parts[first:], segment_max(logits, counts), strict=False):
                torch.maximum(found[place], row, out=found[place])
        else:
            weights = _saturated(logits.relu(), log_again=log_again)
            for (place, _), rows in zip(parts[first:], weights.split(counts), strict=False):
                found[place] += rows.sum(dim=0)
        del logits  # before the next are made: else there are two of them at a time
    if found is None:
        message = "splade: there is no sequence"
        raise ValueError(message)
    return _saturated(found, log_again=log_again) if how == "max" else found


def _check(x: Tensor, lengths: Sequence[int], how: str) -> None:
    offsets_of(lengths, x)
    if how not in ("max", "sum"):
        message = f"splade reduces by 'max' or 'sum', not by {how!r}"
        raise ValueError(message)


def _saturated(positive: Tensor, *, log_again: bool) -> Tensor:
    weights = torch.log1p(positive)
    return torch.log1p(weights) if log_again else weights


def _parts(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """The sequences cut into parts of few rows, (sequence, rows) each."""
    return [
        (place, min(ROWS_AT_ONCE, length - start))
        for place, length in enumerate(lengths)
        for start in range(0, length, ROWS_AT_ONCE)
    ]


def _blocks(parts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, list[int]]]:
    """Neighbouring parts that have few rows together: their first row, the first of them, the rows of each."""
    starts = list(accumulate((length for _, length in parts), initial=0))
    first = 0
    for place in range(1, len(parts) + 1):
        if place == len(parts) or starts[place + 1] - starts[first] > ROWS_AT_ONCE:
            yield starts[first], first, [length for _, length in parts[first:place]]
            first = place
