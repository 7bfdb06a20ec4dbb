"""Warnings of a command on stderr, and the progress of its calls of ``LLM``."""

from typing import TYPE_CHECKING, Self

from millpond_command import progress
from millpond_command.cli import echo_stderr

if TYPE_CHECKING:
    from collections.abc import Callable


def warn(message: str) -> None:
    """Print a warning to stderr."""
    echo_stderr(f"warning: {message}")


class Progress(progress.Progress):
    """The progress over all texts of a command, which are processed by several calls of ``LLM``."""

    def for_call(self, num_texts: int) -> "Callable[..., CallProgress]":
        """Return the argument ``use_tqdm`` for one call of ``LLM`` with this number of texts."""
        return lambda *, total, **_: CallProgress(self, num_texts=num_texts, num_items=total)


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
