"""The state of a job: rows, tokens per second, time left, workers."""

import time
from dataclasses import dataclass
from pathlib import Path

from millpond_jobs.folder.folder import Done, JobFolder
from millpond_jobs.folder.leases import TAKEOVER_LOCK, is_expired

RATE_SHARDS = 20  # the rate is that of the last finished shards


@dataclass(frozen=True)
class JobStatus:
    """The state of a job.

    Attributes:
        folder: Its folder.
        model: The model.
        task: The task.
        rows: The number of rows of all inputs.
        finished_rows: Rows that are finished.
        failed: Rows without a result.
        truncated: Rows whose text was cut.
        shards: The number of shards.
        finished_shards: Shards that are finished.
        tokens: The number of tokens that were computed.
        tokens_per_s: Tokens per second of the last shards; None before the first.
        eta_s: Seconds that the rest will take with the present workers; None if no worker runs.
        running: The number of shards that workers compute now.
    """

    folder: str
    model: str
    task: str
    rows: int
    finished_rows: int
    failed: int
    truncated: int
    shards: int
    finished_shards: int
    tokens: int
    tokens_per_s: float | None
    eta_s: float | None
    running: int

    @property
    def is_finished(self) -> bool:
        """True if all shards are finished."""
        return self.finished_shards == self.shards


def status(folder: str | Path) -> JobStatus:
    """Return the state of a job, by its files alone.

    Raises:
        JobError: If the folder holds no job.
    """
    job = JobFolder(folder)
    manifest = job.read_manifest()
    finished = list(job.finished(manifest).values())
    leases = [path for path in job.leases.glob("*") if path.name != TAKEOVER_LOCK]
    running = sum(not is_expired(path) for path in leases)
    recent = sorted(finished, key=lambda done: done.finished)[-RATE_SHARDS:]
    rows_per_s, tokens_per_s = _rates(recent)
    left = manifest.rows - sum(done.rows for done in finished)
    eta_s = left / rows_per_s - _computed_s(recent[-1]) if running and rows_per_s else None
    return JobStatus(
        folder=str(job.path),
        model=manifest.recipe.model,
        task=manifest.recipe.task,
        rows=manifest.rows,
        finished_rows=manifest.rows - left,
        failed=sum(done.failed for done in finished),
        truncated=sum(done.truncated for done in finished),
        shards=len(manifest.shards()),
        finished_shards=len(finished),
        tokens=sum(done.tokens for done in finished),
        tokens_per_s=tokens_per_s,
        eta_s=None if eta_s is None else max(eta_s, 0.0),
        running=running,
    )


def _computed_s(last: Done) -> float:
    """Return the seconds since a shard was finished, at most its own time: there may have been a pause since."""
    return min(max(time.time() - last.finished, 0.0), last.seconds)


def _rates(recent: list[Done]) -> tuple[float | None, float | None]:
    """Return rows and tokens per second of shards, over the time in which at least one of them was computed.

    Pauses between runs do not count: the estimate of a job that is resumed would be far too long.
    """
    if not recent:
        return None, None
    seconds, end = 0.0, float("-inf")
    for begun, finished in sorted((done.finished - done.seconds, done.finished) for done in recent):
        seconds += max(0.0, finished - max(begun, end))
        end = max(end, finished)
    seconds = max(seconds, 1e-9)
    return sum(done.rows for done in recent) / seconds, sum(done.tokens for done in recent) / seconds
