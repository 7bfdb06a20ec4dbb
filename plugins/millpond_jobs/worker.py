"""Worker: computes the open shards of a folder, while the next one is read and the last one is written."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from millpond_jobs.errors import JobError
from millpond_jobs.folder.folder import ID, JobFolder
from millpond_jobs.folder.leases import Leases
from millpond_jobs.folder.manifest import Manifest
from millpond_jobs.inputs import Inputs
from millpond_jobs.progress import Progress
from millpond_jobs.rows import Rows
from millpond_jobs.runner import Runner
from millpond_jobs.sources.plan import Shard

POLL_S = 0.5  # between looks at shards that other workers compute


@dataclass(frozen=True)
class Work:
    """A shard that was claimed and read."""

    shard: Shard
    rows: Rows
    ids: pa.Array


class Worker:
    """One process at work on a job.

    Memory holds three shards at most: one being read, one computed, one written.

    Args:
        folder: The folder of the job.
        manifest: Its description.
        inputs: Its input files.
        leases: This worker's leases.
        stop: Set it to stop after the current shard.
        progress: Reports finished shards.
    """

    def __init__(
        self,
        folder: JobFolder,
        manifest: Manifest,
        inputs: Inputs,
        leases: Leases,
        *,
        stop: threading.Event,
        progress: Progress,
    ) -> None:
        self._folder, self._inputs, self._leases = folder, inputs, leases
        self._stop, self._progress = stop, progress
        self._open = manifest.shards()

    def run(self, runner: Runner) -> None:
        """Compute until all shards are finished, or a stop is requested.

        Raises:
            JobError: If a shard cannot be read, computed or written; all shards before it are kept.
        """
        with (
            ThreadPoolExecutor(1, "millpond-job-read") as reading,
            ThreadPoolExecutor(1, "millpond-job-write") as writing,
        ):
            written: Future[None] | None = None
            upcoming = reading.submit(self._read_next)
            try:
                while (work := upcoming.result()) is not None and not self._stop.is_set():
                    upcoming = reading.submit(self._read_next)
                    begun = time.perf_counter()
                    results = runner.compute(work.rows)
                    seconds = time.perf_counter() - begun
                    if written is not None:
                        written.result()
                    written = writing.submit(self._commit, work, results, seconds)
            finally:
                self._stop.set()  # after an error, the reading thread must not wait for other workers
                if written is not None:
                    written.result()

    def _read_next(self) -> Work | None:
        """Claim and read the next open shard; None if all are finished."""
        while not self._stop.is_set():
            self._open = [shard for shard in self._open if not self._folder.is_done(shard.name)]
            if not self._open:
                return None
            for shard in self._open:
                if self._leases.claim(shard.name):
                    if self._folder.is_done(shard.name):  # another worker finished it in between
                        self._leases.release(shard.name)
                        continue
                    self._folder.remove_temporary_files(shard)
                    rows = self._inputs.read(shard)
                    return Work(shard, rows, self._inputs.ids(shard, rows))
            self._stop.wait(POLL_S)
        return None

    def _commit(self, work: Work, results: pa.Table, seconds: float) -> None:
        self._inputs.check_unchanged(work.shard)
        table = with_ids(work.ids, results)
        if not self._leases.is_held(work.shard.name):
            return  # this process was suspended for so long that another worker took the shard over
        done = self._folder.commit(work.shard, table, seconds=seconds)
        self._leases.release(work.shard.name)
        self._progress.advance(done)


def with_ids(ids: pa.Array, results: pa.Table) -> pa.Table:
    """Return the table of a shard: ids, then results.

    Raises:
        JobError: If a result has the name of the ids.
    """
    if ID in results.column_names:
        message = f"The task has a result {ID!r}, which is the name of the ids."
        raise JobError(message)
    return results.add_column(0, ID, ids)
