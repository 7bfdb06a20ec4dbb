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
from millpond_jobs.progress import ShardProgress
from millpond_jobs.shards import Shard
from millpond_recipes.rows import Rows
from millpond_recipes.runner import Runner

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
        progress: Reports finished shards, those of other workers included.
    """

    def __init__(
        self,
        folder: JobFolder,
        manifest: Manifest,
        inputs: Inputs,
        leases: Leases,
        *,
        stop: threading.Event,
        progress: ShardProgress,
    ) -> None:
        self._folder, self._manifest, self._inputs, self._leases = folder, manifest, inputs, leases
        self._stop, self._progress = stop, progress
        self._open = manifest.shards()
        self._committed = threading.Event()

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
                    self._progress.begin(work.shard.name, work.shard.rows)
                    with self._inputs.naming_rows(work.shard):
                        results = runner.compute(work.rows)
                    seconds = time.perf_counter() - begun
                    if written is not None:
                        written.result()
                    written = writing.submit(self._commit, work, results, seconds)
            finally:
                self._stop.set()  # after an error, the reading thread must not wait for other workers
                self._committed.set()
                if written is not None:
                    written.result()

    def _read_next(self) -> Work | None:
        """Claim and read the next open shard; None if all are finished."""
        while not self._stop.is_set():
            self._committed.clear()
            shard = self._claim_next()
            if shard is not None:
                self._folder.remove_temporary_files(shard)
                self._folder.check_replaceable(shard.name)
                rows = self._inputs.read(shard)
                return Work(shard, rows, self._inputs.ids(shard, rows))
            if not self._open:
                return None
            self._committed.wait(POLL_S)
        return None

    def _claim_next(self) -> Shard | None:
        """Claim the first shard that is neither finished nor claimed, and forget the finished ones up to it."""
        claimed: list[Shard] = []  # by other workers, or by this one and not yet written
        for number, shard in enumerate(self._open):
            if self._folder.is_done(shard.name):
                if not self._progress.is_reported(shard.name):
                    self._progress.advance(self._folder.read_done(self._manifest, shard))
                continue
            claimed.append(shard)
            if self._leases.claim(shard.name):
                if not self._folder.is_done(shard.name):
                    self._open = [*claimed, *self._open[number + 1 :]]
                    return shard
                self._leases.release(shard.name)  # another worker finished it in between
        self._open = claimed
        return None

    def _commit(self, work: Work, results: pa.Table, seconds: float) -> None:
        try:
            self._write(work, results, seconds)
        except BaseException:
            self._stop.set()  # the reading thread may be waiting for this shard, which this worker has claimed
            raise
        finally:
            self._committed.set()

    def _write(self, work: Work, results: pa.Table, seconds: float) -> None:
        self._inputs.check_unchanged(work.shard)
        table = with_ids(work.ids, results)
        if not self._leases.is_held(work.shard.name):
            return  # this process was suspended for so long that another worker took the shard over
        done = self._folder.commit(self._manifest, work.shard, table, seconds=seconds)
        self._leases.release(work.shard.name)
        self._progress.advance(done)


def with_ids(ids: pa.Array, results: pa.Table) -> pa.Table:
    """Return the table of a shard: ids, then results.

    Raises:
        JobError: If a result has the name of the ids.
    """
    if ID in results.column_names:
        message = f"the task has a result {ID!r}, which is the name of the ids"
        raise JobError(message)
    return results.add_column(0, ID, ids)
