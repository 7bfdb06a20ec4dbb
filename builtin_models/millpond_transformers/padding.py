"""Groups sequences of similar length into padded batches, so that little computation is wasted on padding."""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_PADDING_RATIO = 0.1  # of padding to tokens in a batch
FREE_PADDING_TOKENS = 64  # padding that costs less than a separate batch


@dataclass(frozen=True, kw_only=True)
class Padding:
    """The padding that a class supports.

    Attributes:
        arguments: The arguments of the class.
        mixed_lengths: True if sequences of different lengths may share a batch.
        one_by_one: True if each sequence is computed separately, so that others cannot change its result.
    """

    arguments: frozenset[str] = frozenset()
    mixed_lengths: bool = False
    one_by_one: bool = False


def group_by_length(lengths: Sequence[int], padding: Padding) -> list[list[int]]:
    """Return the indices of the sequences of each batch, the longest first.

    Args:
        lengths: Number of tokens of each sequence.
        padding: The supported padding.
    """
    groups: list[list[int]] = []
    longest = tokens = 0
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True):
        length = lengths[index]
        rows = len(groups[-1]) + 1 if groups else 0
        num_padding = longest * rows - tokens - length
        allowed = max(MAX_PADDING_RATIO * (tokens + length), FREE_PADDING_TOKENS) if padding.mixed_lengths else 0
        if not groups or padding.one_by_one or num_padding > allowed:
            groups.append([index])
            longest, tokens = length, length
        else:
            groups[-1].append(index)
            tokens += length
    return groups
