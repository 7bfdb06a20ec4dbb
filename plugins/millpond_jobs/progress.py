"""Progress of a job on stderr: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from threading import Lock
from typing import Self

from millpond_command.progress import Progress
from millpond_jobs.folder.folder import Done


class ShardProgress:
    """The rows of finished shards, with tokens per second and failed rows.

    Args:
        rows: The number of rows of the job.
        finished: The shards that were finished before, by name.
        shown: True to show it.
    """

    def __init__(self, rows: int, finished: Mapping[str, Done], *, shown: bool) -> None:
        self._failed = sum(done.failed for done in finished.values())
        self._tokens, self._begun = 0, time.monotonic()
        self._finished, self._lock = set(finished), Lock()
        self._computed: dict[str, int] = {}  # the rows of shards that this worker computes or writes, in order
        earlier = sum(done.rows for done in finished.values())
        self._progress = Progress(shown=shown, total=lambda: rows, unit="rows", earlier=earlier)

    def begin(self, name: str, rows: int) -> None:
        """Report the size of a shard that is computed now, for the time left."""
        self._computed[name] = rows

    def is_reported(self, name: str) -> bool:
        """True if a shard was reported as finished."""
        return name in self._finished

    def advance(self, done: Done) -> None:
        """Report a shard that any worker has finished; called from several threads. Does nothing the second time."""
        with self._lock:
            if done.shard in self._finished:
                return
            self._finished.add(done.shard)
            self._tokens += done.tokens
            self._failed += done.failed
            rate = f"{self._tokens / max(time.monotonic() - self._begun, 1e-9):,.0f} tokens/s"
            self._computed.pop(done.shard, None)
            note = f"{rate}, {self._failed:,} failed" if self._failed else rate
            self._progress.update(done.rows, note, upcoming=next(iter(self._computed.values()), None))

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
