"""The progress bar on a terminal, drawn by rich."""

import time
from typing import TYPE_CHECKING, Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from millpond_command.progress import Count

REFRESHES_PER_S: Final = 5
MIN_BAR_COLUMNS: Final = 10
MIN_COLUMNS_WITH_BAR: Final = 60
"""On a narrower terminal, the status is shown without a bar."""


class ProgressBar:
    """A bar with the status of a count, which is removed when it stops.

    While it is shown, ``sys.stderr`` is redirected: other lines are printed above it.

    Args:
        count: The count.
        begun: The start, by the monotonic clock.
        stream: The terminal.
    """

    def __init__(self, count: "Count", begun: float, stream: TextIO) -> None:
        console = Console(file=stream, force_terminal=True, force_jupyter=False)
        bars = [BarColumn(bar_width=None)] if console.width >= MIN_COLUMNS_WITH_BAR else []
        self._count = count
        self._progress = Progress(
            *bars,
            _Status(count, begun, console),
            console=console,
            refresh_per_second=REFRESHES_PER_S,
            transient=True,
            redirect_stdout=False,
            expand=bool(bars),
        )
        self._task = self._progress.add_task("", total=count.total, completed=count.done)

    def start(self) -> None:
        """Show the bar; if Ctrl-C interrupts this, remove it, because no caller does."""
        try:
            self._progress.start()
        except BaseException:
            self._progress.stop()
            raise

    def update(self) -> None:
        """Move the bar to the count."""
        self._progress.update(self._task, completed=self._count.done)

    def stop(self) -> None:
        """Remove the bar; `start` shows it again."""
        self._progress.stop()


class _Status(ProgressColumn):
    """The status of a count, as far as it fits beside the bar."""

    def __init__(self, count: "Count", begun: float, console: Console) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._count, self._begun, self._console = count, begun, console

    def render(self, task: Task) -> Text:  # noqa: ARG002  the signature is rich's
        """Return the status."""
        width = self._console.width
        reserved = MIN_BAR_COLUMNS if width >= MIN_COLUMNS_WITH_BAR else 0
        return Text(self._count.status(time.monotonic() - self._begun, width - reserved), overflow="ellipsis")
