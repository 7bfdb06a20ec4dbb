"""Notes of a command on stderr, and its progress bar on a terminal."""

import sys
from typing import TYPE_CHECKING, Any, Self

from millpond_command.cli import say

if TYPE_CHECKING:
    from collections.abc import Callable


def warn(message: str) -> None:
    """Report something that does not end the command."""
    say(f"warning: {message}")


class Progress:
    """A bar over all texts of a command, which are computed in several calls of ``LLM``.

    Args:
        shown: True for a bar; None for one on a terminal.
        total: Returns the number of texts, None where it is not known; asked only if there is a bar.
        unit: The word after the number.
    """

    def __init__(self, *, shown: bool | None, total: "Callable[[], int | None]", unit: str = " texts") -> None:
        self._bar: Any = None
        if shown is None:
            shown = sys.stderr is not None and sys.stderr.isatty()
        count = total() if shown else None
        if shown and count != 1:
            from tqdm import tqdm  # noqa: PLC0415  imported only where there is a bar

            self._bar = tqdm(total=count, unit=unit, dynamic_ncols=True, delay=1.0, file=sys.stderr)

    def of(self, texts: int) -> "Callable[..., Share]":
        """Return the ``use_tqdm`` of one call of ``LLM`` for a number of texts."""
        return lambda *, total, **_: Share(self, texts=texts, items=total)

    def update(self, count: int) -> None:
        """Advance the bar by a number of texts."""
        if self._bar is not None:
            self._bar.update(count)

    def close(self) -> None:
        """End the bar and leave it on the screen."""
        if self._bar is not None:
            self._bar.close()


class Share:
    """The part of the bar of one call.

    Args:
        bar: The bar.
        texts: The number of texts, or of pairs of texts, of the call.
        items: The number of items that it reports for them; a pair may be two.
    """

    def __init__(self, bar: Progress, *, texts: int, items: int) -> None:
        self._bar, self._texts, self._items = bar, texts, items
        self._done = self._told = 0

    def update(self, count: int) -> None:
        """Advance the bar by a number of items."""
        self._done += count
        due = self._done * self._texts // self._items
        self._bar.update(due - self._told)
        self._told = due

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The end of one call is not that of the bar."""
