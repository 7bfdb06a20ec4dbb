"""The progress of one call of ``LLM``, as a part of the progress of a command."""

from collections.abc import Callable
from typing import Self

from millpond_command.progress import Progress


class CallProgress:
    """The progress of one call of ``LLM``, which counts items instead of texts.

    Args:
        progress: The progress of the command.
        num_texts: The number of texts, or of pairs of texts, in the call.
        num_items: The number of items that the call reports; a pair may be two items.
    """

    def __init__(self, progress: Progress, *, num_texts: int, num_items: int) -> None:
        self._progress, self._num_texts, self._num_items = progress, num_texts, num_items
        self._done_items = self._shown_texts = 0

    def update(self, count: int) -> None:
        """Report a number of items."""
        self._done_items += count
        done_texts = self._done_items * self._num_texts // self._num_items
        self._progress.update(done_texts - self._shown_texts)
        self._shown_texts = done_texts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Keep the progress open for the next call."""


def call_progress(progress: Progress, num_texts: int) -> Callable[..., CallProgress]:
    """Return the argument ``use_tqdm`` for one call of ``LLM`` with this number of texts."""
    return lambda *, total, **_: CallProgress(progress, num_texts=num_texts, num_items=total)
