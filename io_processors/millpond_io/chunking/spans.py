"""Chunks of a text, between characters and tokens: which tokens a span of characters holds, and the reverse."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from millpond.types.errors import InvalidInputError

Span = tuple[int, int]


@dataclass(frozen=True)
class Tokens:
    """A text as the model reads it.

    Attributes:
        ids: The token ids, special tokens and those of the prompt before the text included.
        offsets: The characters of the text that each token stands for, from one up to another, without the spaces
            around them; from a place up to itself for a token that stands for none.
    """

    ids: list[int]
    offsets: list[Span]

    @property
    def content(self) -> Span:
        """The tokens of the text, from one up to another: what stands before and behind is special, or the prompt."""
        own = [place for place, (start, stop) in enumerate(self.offsets) if stop > start]
        return (own[0], own[-1] + 1) if own else (0, 0)


def tokens_of(text: str, ids: list[int], offsets: Sequence[Span], *, prompt: str = "") -> Tokens:
    """The tokens of a text, whose offsets count from the beginning of the prompt before it."""
    return Tokens(ids, [_trimmed(text, start - len(prompt), stop - len(prompt)) for start, stop in offsets])


def chunks_of_spans(tokens: Tokens, spans: Sequence[Span], text: str) -> list[Span]:
    """The tokens of each span of characters, from the first that it overlaps to the last.

    Raises:
        InvalidInputError: If a span overlaps none; names it.
    """
    offsets = np.asarray(tokens.offsets, dtype=np.int64).reshape(-1, 2)
    places = np.flatnonzero(offsets[:, 1] > offsets[:, 0])
    # Tokens stand in the order of the text, so that a span need not be held against each of them.
    starts, stops = offsets[places].T
    firsts = np.searchsorted(stops, [start for start, _ in spans], side="right")
    behind = np.searchsorted(starts, [stop for _, stop in spans], side="left")
    found: list[Span] = []
    for number, ((start, stop), first, end) in enumerate(zip(spans, firsts, behind, strict=True)):
        if first >= end:
            message = f"spans[{number}] = ({start}, {stop}) holds no token: its text is {text[start:stop]!r}"
            raise InvalidInputError(message, parameter="spans")
        found.append((int(places[first]), int(places[end - 1]) + 1))
    return found


def chunks_of_tokens(tokens: Tokens, size: int, overlap: int) -> list[Span]:
    """The tokens of chunks of ``size`` of them, each beginning ``overlap`` before the end of the one before it."""
    first, last = tokens.content
    found: list[Span] = []
    for start in range(first, last, size - overlap):
        found.append((start, min(start + size, last)))
        if found[-1][1] == last:
            break
    return found


def characters_of(tokens: Tokens, chunk: Span) -> Span:
    """The characters from the first to the last that the tokens of a chunk stand for."""
    inside = [(start, stop) for start, stop in tokens.offsets[chunk[0] : chunk[1]] if stop > start]
    return min(start for start, _ in inside), max(stop for _, stop in inside)


def _trimmed(text: str, start: int, stop: int) -> Span:
    """Characters without the spaces around them, which some tokenizers count to a token; all of them if all are."""
    if stop <= 0 or stop <= start:  # of the prompt, or special
        return (0, 0)
    start = max(start, 0)
    inner = text[start:stop]
    if not inner.strip():
        return (start, stop)
    left = len(inner) - len(inner.lstrip())
    return (start + left, start + len(inner.rstrip()))
