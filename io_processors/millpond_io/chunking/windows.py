"""Windows over texts that exceed the model's maximum length: the choice of a window for each chunk."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

Span = tuple[int, int]


def choose_windows(chunks: Sequence[Span], content: Span, window_size: int) -> list[Span]:
    """Return a window for each chunk: the window that contains the chunk with the most context.

    Windows start at every half window. A chunk that no window contains gets its own window, centred on it. The context
    of a chunk is the smaller number of tokens on one side of it; the side at the start or end of the text counts as
    complete.

    Args:
        chunks: The spans of chunks, each at most ``window_size`` tokens long.
        content: The span of the tokens of the text.
        window_size: The number of tokens of the text in a window.
    """
    first, last = content
    if last - first <= window_size:
        return [content] * len(chunks)
    step = max(window_size // 2, 1)
    starts = [*range(first, last - window_size, step), last - window_size]
    return [_choose(chunk, content, window_size, starts) for chunk in chunks]


def _choose(chunk: Span, content: Span, window_size: int, starts: Sequence[int]) -> Span:
    candidates = starts[bisect_left(starts, chunk[1] - window_size) : bisect_right(starts, chunk[0])]
    windows = [(start, start + window_size) for start in candidates]
    if not windows:
        start = chunk[0] - (window_size - (chunk[1] - chunk[0])) // 2
        start = min(max(start, content[0]), content[1] - window_size)
        return (start, start + window_size)
    return max(windows, key=lambda window: _context(chunk, window, content))


def _context(chunk: Span, window: Span, content: Span) -> tuple[int, int]:
    """Return the smaller context of both sides, and their sum."""
    complete = content[1] - content[0]
    before = complete if window[0] == content[0] else chunk[0] - window[0]
    after = complete if window[1] == content[1] else window[1] - chunk[1]
    return min(before, after), before + after
