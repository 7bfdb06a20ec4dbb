"""What a command says on stderr while it works: notes, and a progress bar on a terminal."""

import sys
from typing import Any, Self

from millpond.cli import say


def warn(message: str) -> None:
    """Tell something that does not end the command."""
    say(f"warning: {message}")


class Progress:
    """A bar over all texts of a command, which are computed in several calls of ``LLM``.

    Args:
        shown: Whether there is a bar; None for a terminal.
        total: How many texts there are, where that is known.
    """

    def __init__(self, *, shown: bool | None, total: int | None) -> None:
        self._bar: Any = None
        if shown is None:
            shown = sys.stderr is not None and sys.stderr.isatty() and total != 1
        if shown:
            from tqdm import tqdm  # noqa: PLC0415  only for who sees it

            self._bar = tqdm(total=total, unit=" texts", dynamic_ncols=True, delay=1.0, file=sys.stderr)

    def one_call(self, **_: object) -> "Progress":
        """What one call of ``LLM`` takes for its own bar."""
        return self

    def update(self, count: int) -> None:
        """So many texts more are done."""
        if self._bar is not None:
            self._bar.update(count)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The end of one call is not that of the bar."""
