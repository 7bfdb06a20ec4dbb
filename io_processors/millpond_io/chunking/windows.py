"""Windows over a text that is longer than the model reads: which of them each chunk is pooled in."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

Span = tuple[int, int]


def choose_windows(chunks: Sequence[Span], content: Span, room: int) -> list[Span]:
    """A window for each chunk: of those that hold it, the one that gives it the most context.

    Windows are ``room`` tokens long and begin every half of that. A chunk that none of them holds has one of its own,
    with as much before as behind it. The context of a chunk is what stands on the side that has less; the beginning
    and the end of the text are no lack.

    Args:
        chunks: The tokens of each, none longer than ``room``.
        content: The tokens of the text.
        room: The tokens of the text that fit into a window.
    """
    first, last = content
    if last - first <= room:
        return [content] * len(chunks)
    step = max(room // 2, 1)
    starts = [*range(first, last - room, step), last - room]
    return [_choose(chunk, content, room, starts) for chunk in chunks]


def _choose(chunk: Span, content: Span, room: int, starts: Sequence[int]) -> Span:
    near = starts[bisect_left(starts, chunk[1] - room) : bisect_right(starts, chunk[0])]
    holding = [(start, start + room) for start in near]
    if not holding:
        start = chunk[0] - (room - (chunk[1] - chunk[0])) // 2
        start = min(max(start, content[0]), content[1] - room)
        return (start, start + room)
    return max(holding, key=lambda window: _context(chunk, window, content))


def _context(chunk: Span, window: Span, content: Span) -> tuple[int, int]:
    """The context on the side that has less of it, then that on both."""
    whole = content[1] - content[0]
    before = whole if window[0] == content[0] else chunk[0] - window[0]
    behind = whole if window[1] == content[1] else window[1] - chunk[1]
    return min(before, behind), before + behind
