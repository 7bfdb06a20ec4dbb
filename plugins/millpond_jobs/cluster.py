"""A job on a cluster: each worker runs the same job on the folder, and they share its shards."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond_jobs.folder.folder import JobFolder
from millpond_jobs.job import JobResult, Sources, run, summarize
from millpond_jobs.progress import ShardProgress
from millpond_recipes.recipe import Recipe

if TYPE_CHECKING:
    from millpond_command.clusters import Cluster, Workers

POLL_S = 1.0


@dataclass(frozen=True)
class JobWork:
    """The work of one worker: `run` with the arguments of the job. It can be pickled.

    Attributes:
        source: As in `run`.
        sink: As in `run`.
        recipe: As in `run`.
        options: Other arguments of `run`.
    """

    source: Sources
    sink: str | Path
    recipe: Recipe
    options: dict[str, Any]

    def __call__(self, stop: threading.Event) -> None:
        """Plan the job, or join it, and compute shards until all are finished."""
        run(self.source, self.sink, self.recipe, stop=stop, **self.options)


def run_on_cluster(
    cluster: "Cluster",
    workers: "Workers",
    source: Sources,
    sink: str | Path,
    recipe: Recipe,
    *,
    progress: bool = False,
    stop: threading.Event | None = None,
    **options: Any,
) -> JobResult:
    """Run a job on a cluster. The folder and the inputs must have the same paths on all machines.

    Args:
        cluster: The cluster.
        workers: The number of workers and their resources.
        source: As in `run`.
        sink: As in `run`.
        recipe: As in `run`.
        progress: As in `run`.
        stop: As in `run`.
        **options: Other arguments of `run`.

    Raises:
        JobError: As in `run`.
    """
    begun = time.monotonic()
    folder = JobFolder(sink)
    with _following(folder, enabled=progress):
        cluster.run(JobWork(source, sink, recipe, options), workers, stop or threading.Event())
    return summarize(folder, folder.read_manifest(), time.monotonic() - begun)


@contextmanager
def _following(folder: JobFolder, *, enabled: bool) -> Iterator[None]:
    """Report the shards that workers finish, by the files of the folder."""
    ended = threading.Event()
    thread = threading.Thread(target=_follow, args=(folder, ended), name="millpond-job-progress", daemon=True)
    if enabled:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if enabled:
            thread.join()


def _follow(folder: JobFolder, ended: threading.Event) -> None:
    while not folder.exists:  # until a worker has planned the job
        if ended.wait(POLL_S):
            return
    manifest = folder.read_manifest()
    with ShardProgress(manifest.rows, folder.finished(manifest), shown=True) as report:
        is_last = False
        while not is_last:
            is_last = ended.wait(POLL_S)
            for done in folder.finished(manifest).values():
                report.advance(done)
