"""Selection of entities from the scores of spans: the best first, without those that overlap it."""

from collections.abc import Sequence
from typing import NamedTuple


class Candidate(NamedTuple):
    """A span with a label.

    Attributes:
        first: Its first word.
        last: Its last word.
        label: The index of the label.
        score: The probability of the label.
    """

    first: int
    last: int
    label: int
    score: float


def select(candidates: Sequence[Candidate], *, flat: bool, multi_label: bool) -> list[Candidate]:
    """Return the selected candidates in the order of their first words.

    Args:
        candidates: Spans with scores over the threshold.
        flat: True to select spans that do not overlap; False also allows a span inside another one.
        multi_label: True if a span may have several labels.
    """
    selected: list[Candidate] = []
    for it in sorted(candidates, key=lambda it: -it.score):
        if not any(_conflict(it, other, flat=flat, multi_label=multi_label) for other in selected):
            selected.append(it)
    return sorted(selected, key=lambda it: it.first)


def _conflict(one: Candidate, other: Candidate, *, flat: bool, multi_label: bool) -> bool:
    if one[:2] == other[:2]:
        return not multi_label
    overlap = one.first <= other.last and other.first <= one.last
    return overlap and (flat or not (_contains(one, other) or _contains(other, one)))


def _contains(outer: Candidate, inner: Candidate) -> bool:
    return outer.first <= inner.first and inner.last <= outer.last
