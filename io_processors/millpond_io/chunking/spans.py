"""Chunks of a text: conversion between spans of characters and spans of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from millpond.types.errors import InvalidInputError

Span = tuple[int, int]


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text.

    Attributes:
        ids: The token ids, including special tokens and those of the instruction before the text.
        offsets: The characters of the text for each token, as (start, stop), without surrounding spaces; an empty span
            for tokens without characters.
    """

    ids: list[int]
    offsets: list[Span]

    @property
    def content(self) -> Span:
        """The span of the tokens of the text, without special tokens and the instruction."""
        indices = [index for index, (start, stop) in enumerate(self.offsets) if stop > start]
        return (indices[0], indices[-1] + 1) if indices else (0, 0)


def tokens_of(text: str, ids: list[int], offsets: Sequence[Span], *, prompt: str = "") -> Tokens:
    """Return the tokens of a text; ``offsets`` count from the start of the instruction before it."""
    return Tokens(ids, [_trimmed(text, start - len(prompt), stop - len(prompt)) for start, stop in offsets])


def chunks_of_spans(tokens: Tokens, spans: Sequence[Span], text: str) -> list[Span]:
    """Return the span of tokens for each span of characters, from the first overlapping token to the last.

    Raises:
        InvalidInputError: If a span overlaps no token; names it.
    """
    offsets = np.asarray(tokens.offsets, dtype=np.int64).reshape(-1, 2)
    indices = np.flatnonzero(offsets[:, 1] > offsets[:, 0])
    # Tokens are in the order of the text, so that a binary search finds those of a span.
    starts, stops = offsets[indices].T
    first_tokens = np.searchsorted(stops, [start for start, _ in spans], side="right")
    end_tokens = np.searchsorted(starts, [stop for _, stop in spans], side="left")
    chunks: list[Span] = []
    for number, ((start, stop), first, end) in enumerate(zip(spans, first_tokens, end_tokens, strict=True)):
        if first >= end:
            message = f"spans[{number}] = ({start}, {stop}) contains no token: its text is {text[start:stop]!r}"
            raise InvalidInputError(message, parameter="spans")
        chunks.append((int(indices[first]), int(indices[end - 1]) + 1))
    return chunks


def chunks_of_tokens(tokens: Tokens, size: int, overlap: int) -> list[Span]:
    """Return the spans of chunks of ``size`` tokens; consecutive chunks share ``overlap`` tokens."""
    first, last = tokens.content
    chunks: list[Span] = []
    for start in range(first, last, size - overlap):
        chunks.append((start, min(start + size, last)))
        if chunks[-1][1] == last:
            break
    return chunks


def characters_of(tokens: Tokens, chunk: Span) -> Span:
    """Return the span of characters of the tokens of a chunk."""
    offsets = [(start, stop) for start, stop in tokens.offsets[chunk[0] : chunk[1]] if stop > start]
    return min(start for start, _ in offsets), max(stop for _, stop in offsets)


def _trimmed(text: str, start: int, stop: int) -> Span:
    """Return a span without surrounding spaces, which some tokenizers include; a span of only spaces is kept."""
    if stop <= 0 or stop <= start:  # a token of the instruction, or a special token
        return (0, 0)
    start = max(start, 0)
    inner = text[start:stop]
    if not inner.strip():
        return (start, stop)
    left = len(inner) - len(inner.lstrip())
    return (start + left, start + len(inner.rstrip()))
