"""Warnings and the progress bar of a command, on stderr."""

import sys
from typing import TYPE_CHECKING, Any, Self

from millpond_command.cli import echo_stderr

if TYPE_CHECKING:
    from collections.abc import Callable


def warn(message: str) -> None:
    """Print a warning to stderr."""
    echo_stderr(f"warning: {message}")


class Progress:
    """Progress bar over all texts of a command, which are processed by several calls of ``LLM``.

    Args:
        shown: True to show the bar; None to show it only on a terminal.
        total: Returns the number of texts, or None if it is unknown. Called only if the bar is shown.
        unit: The word after the number.
    """

    def __init__(self, *, shown: bool | None, total: "Callable[[], int | None]", unit: str = " texts") -> None:
        self._bar: Any = None
        if shown is None:
            shown = sys.stderr is not None and sys.stderr.isatty()
        count = total() if shown else None
        if shown and count != 1:
            from tqdm import tqdm  # noqa: PLC0415  imported only if the bar is shown

            self._bar = tqdm(total=count, unit=unit, dynamic_ncols=True, delay=1.0, file=sys.stderr)

    def for_call(self, num_texts: int) -> "Callable[..., CallProgress]":
        """Return the argument ``use_tqdm`` for one call of ``LLM`` with this number of texts."""
        return lambda *, total, **_: CallProgress(self, num_texts=num_texts, num_items=total)

    def update(self, count: int) -> None:
        """Advance the bar by a number of texts."""
        if self._bar is not None:
            self._bar.update(count)

    def close(self) -> None:
        """Close the bar; it stays on the screen."""
        if self._bar is not None:
            self._bar.close()


class CallProgress:
    """The progress of one call of ``LLM``, which counts items instead of texts.

    Args:
        bar: The bar.
        num_texts: The number of texts, or of pairs of texts, in the call.
        num_items: The number of items that the call reports; a pair may be two items.
    """

    def __init__(self, bar: Progress, *, num_texts: int, num_items: int) -> None:
        self._bar, self._num_texts, self._num_items = bar, num_texts, num_items
        self._done_items = self._shown_texts = 0

    def update(self, count: int) -> None:
        """Advance the bar by a number of items."""
        self._done_items += count
        done_texts = self._done_items * self._num_texts // self._num_items
        self._bar.update(done_texts - self._shown_texts)
        self._shown_texts = done_texts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Keep the bar open for the next call."""
