"""Which sequences share a padded batch: those of nearly one length, so that little is computed in vain."""

from collections.abc import Sequence
from dataclasses import dataclass

WASTE = 0.1  # the most that padding may be, of the tokens it is put beside
FREE = 64  # positions of padding that cost less than a batch of their own


@dataclass(frozen=True, kw_only=True)
class Padding:
    """What may be padded.

    Attributes:
        takes: The arguments that the class takes.
        allowed: Whether sequences of other lengths may share a batch.
        alone: Whether each sequence is computed alone, so that no other can change it by a bit.
    """

    takes: frozenset[str] = frozenset()
    allowed: bool = False
    alone: bool = False


def group(lengths: Sequence[int], padding: Padding) -> list[list[int]]:
    """The places of sequences, batch by batch; in each the longest first.

    Args:
        lengths: The tokens of each sequence.
        padding: What may be padded.
    """
    groups: list[list[int]] = []
    longest = tokens = 0
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place], reverse=True):
        length = lengths[place]
        rows = len(groups[-1]) + 1 if groups else 0
        wasted = longest * rows - tokens - length
        room = max(WASTE * (tokens + length), FREE) if padding.allowed else 0
        if not groups or padding.alone or wasted > room:
            groups.append([place])
            longest, tokens = length, length
        else:
            groups[-1].append(place)
            tokens += length
    return groups
