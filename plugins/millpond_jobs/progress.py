"""Progress of a job on stderr: a bar on a terminal, plain lines elsewhere."""

import time
from collections import deque
from collections.abc import Collection
from typing import Self

from millpond_command.progress import Progress
from millpond_jobs.folder.folder import Done


class ShardProgress:
    """The rows of finished shards, with tokens per second and failed rows.

    Args:
        rows: The number of rows of the job.
        finished: The shards that were finished before.
        shown: True to show it.
    """

    def __init__(self, rows: int, finished: Collection[Done] = (), *, shown: bool) -> None:
        self._failed = sum(done.failed for done in finished)
        self._tokens, self._begun = 0, time.monotonic()
        self._computed: deque[int] = deque()  # the rows of shards that are computed or written, in order
        earlier = sum(done.rows for done in finished)
        self._progress = Progress(shown=shown, total=lambda: rows, unit="rows", earlier=earlier)

    def begin(self, rows: int) -> None:
        """Report the size of a shard that is computed now, for the time left."""
        self._computed.append(rows)

    def advance(self, done: Done) -> None:
        """Report a finished shard. Called from the writing thread."""
        self._tokens += done.tokens
        self._failed += done.failed
        rate = f"{self._tokens / max(time.monotonic() - self._begun, 1e-9):,.0f} tokens/s"
        if self._computed:
            self._computed.popleft()
        upcoming = self._computed[0] if self._computed else None
        note = f"{rate}, {self._failed:,} failed" if self._failed else rate
        self._progress.update(done.rows, note, upcoming=upcoming)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *rest: object) -> None:
        """End the report; after an error without a summary."""
        self._progress.__exit__(error, *rest)


def format_seconds(seconds: float) -> str:
    """Return a duration such as "2 h 05 min", "3 min" or "12 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min" if minutes else f"{rest} s"
