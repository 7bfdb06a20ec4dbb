"""Progress of a job on standard error: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from dataclasses import dataclass, field
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from millpond_jobs.folder.folder import Done

LINE_EVERY_S = 10.0


@dataclass
class Counts:
    """Counts of finished rows and tokens.

    Attributes:
        total: The number of rows of the job.
        rows: Rows that are finished.
        computed: Those among them that were finished since the start of this process.
        tokens: Tokens since the start of this process.
        failed: Rows without a result.
        begun: The start, by the monotonic clock.
    """

    total: int
    rows: int = 0
    failed: int = 0
    computed: int = 0
    tokens: int = 0
    begun: float = field(default_factory=time.monotonic)

    def add(self, done: Done) -> None:
        """Count a finished shard."""
        self.rows += done.rows
        self.computed += done.rows
        self.failed += done.failed
        self.tokens += done.tokens

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second since the start."""
        return self.tokens / max(time.monotonic() - self.begun, 1e-9)

    @property
    def eta_s(self) -> float | None:
        """Seconds that the rest will take; None before the first shard."""
        if not self.computed:
            return None
        return (self.total - self.rows) * (time.monotonic() - self.begun) / self.computed


class Progress(Protocol):
    """A report of finished shards."""

    def advance(self, done: Done) -> None:
        """Report a finished shard. Called from the writing thread."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class NoProgress:
    """No report."""

    def advance(self, done: Done) -> None:
        """Report nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End nothing."""


class ProgressLines:
    """A line after a shard, at most every ten seconds, and one at the end."""

    def __init__(self, counts: Counts, stream: TextIO) -> None:
        self._counts, self._stream, self._printed = counts, stream, 0.0

    def advance(self, done: Done) -> None:
        """Count a shard, and print a line if the last one is ten seconds old."""
        self._counts.add(done)
        if time.monotonic() - self._printed >= LINE_EVERY_S:
            self._print()

    def _print(self) -> None:
        counts, self._printed = self._counts, time.monotonic()
        eta = "" if counts.eta_s is None else f", {format_seconds(counts.eta_s)} left"
        share = 100 * counts.rows / max(counts.total, 1)
        print(
            f"{counts.rows:,} of {counts.total:,} rows ({share:.0f}%), {counts.tokens_per_s:,.0f} tokens/s, "
            f"{counts.failed:,} failed{eta}",
            file=self._stream,
            flush=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._print()


class ProgressBar:
    """A bar that is drawn anew."""

    def __init__(self, counts: Counts, stream: TextIO) -> None:
        self._counts = counts
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self._task: TaskID | None = None

    def advance(self, done: Done) -> None:
        """Count a shard and move the bar."""
        self._counts.add(done)
        if self._task is not None:
            self._bar.update(self._task, completed=self._counts.rows, rate=self._rate())

    def _rate(self) -> str:
        failed = f", {self._counts.failed:,} failed" if self._counts.failed else ""
        return f"{self._counts.tokens_per_s:,.0f} tokens/s{failed}"

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("Computing", total=self._counts.total, completed=self._counts.rows, rate="")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def progress_for(counts: Counts, *, enabled: bool, stream: TextIO | None = None) -> Progress:
    """Return the report that fits standard error."""
    stream = stream or sys.stderr
    if not enabled or stream is None:
        return NoProgress()
    return ProgressBar(counts, stream) if stream.isatty() else ProgressLines(counts, stream)


def format_seconds(seconds: float) -> str:
    """Return a duration such as "2 h 05 min", "3 min" or "12 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min" if minutes else f"{rest} s"
