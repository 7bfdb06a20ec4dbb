"""BatchWorker: runs the requests of batches in the background of a server."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from starlette.types import ASGIApp

from millpond.pipeline.cache import SHARED, cache_owner
from millpond.pipeline.call_stats import CallStats, current_stats
from millpond_server.batches.batch import Batch, Counts
from millpond_server.batches.dispatch import send
from millpond_server.batches.files import DamagedFileError, FileStore, StoredFile
from millpond_server.batches.limits import BatchLimits
from millpond_server.batches.lines import Line, TooManyLinesError, read_lines
from millpond_server.batches.outputs import write_outputs
from millpond_server.batches.records import answer_record, error_record, request_id
from millpond_server.batches.results import ResultLog
from millpond_server.batches.store import BatchStore
from millpond_server.http.errors import ApiError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
MAX_RUNNING_BATCHES, MAX_RUNNING_OF_KEY = 8, 2
CLEANUP_INTERVAL_S = 3600.0
BUSY_CHECK_INTERVAL_S = 0.01
MIN_WAIT_S = 0.1
OVER_QUOTA = "the files and results of the API key reached the maximum size of --max-stored-bytes"
STORAGE_RETRY_S = 30.0  # after an error of the disk
MAX_REPORTED_ERRORS = 20
MAX_CHUNK_LINES, MAX_CHUNK_BYTES = 500, 2**22  # read in a thread between turns of the event loop


OnRequest = Callable[[Batch, str, CallStats, bool], None]  # the batch, the model, its counts, True for an error


def ignore_request(batch: Batch, model: str, stats: CallStats, is_error: bool) -> None:
    """Do nothing when a request has ended."""


class BatchWorker:
    """Runs unfinished batches, the oldest first, and deletes expired ones.

    A batch that was interrupted by the end of the process continues with the requests that have no result. While the
    disk is full, batches wait.

    Args:
        app: The application, without middleware.
        files: The files of clients.
        batches: The batches.
        limits: The limits.
        is_busy: Returns True while live requests run.
        shares_cache: True if all API keys share the cache of results.
        on_request: Called when a request has ended.
    """

    def __init__(
        self,
        app: ASGIApp,
        files: FileStore,
        batches: BatchStore,
        limits: BatchLimits,
        *,
        is_busy: Callable[[], bool],
        shares_cache: bool,
        on_request: OnRequest = ignore_request,
    ) -> None:
        self._on_request = on_request
        self._app, self._files, self._batches, self._limits = app, files, batches, limits
        self._is_busy, self._shares_cache = is_busy, shares_cache
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._num_requests = 0
        self._changed = asyncio.Event()
        self._running: dict[asyncio.Task[None], Batch] = {}
        self._logs: dict[str, tuple[str, ResultLog]] = {}  # the owner and the results of each running batch

    def notify(self) -> None:
        """Report a new or a cancelled batch."""
        self._changed.set()

    async def run(self) -> None:
        """Run until cancelled."""
        cleaned = float("-inf")
        try:
            while True:
                self._changed.clear()
                if time.monotonic() - cleaned > CLEANUP_INTERVAL_S:
                    await asyncio.to_thread(self._delete_expired)
                    cleaned = time.monotonic()
                self._start_batches()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait(
                    [changed, *self._running],
                    timeout=self._seconds_to_next_expiry(),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                changed.cancel()
                self._running = {task: batch for task, batch in self._running.items() if not task.done()}
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _start_batches(self) -> None:
        running = {batch.id for batch in self._running.values()}
        of_key = Counter(batch.owner for batch in self._running.values())
        for batch in self._batches.unfinished():
            may_run = len(self._running) < MAX_RUNNING_BATCHES and of_key[batch.owner] < MAX_RUNNING_OF_KEY
            if batch.id not in running and (may_run or is_expired(batch)):  # expired ones end without running
                of_key[batch.owner] += 1
                self._running[asyncio.ensure_future(self._run_batch(batch))] = batch

    def _seconds_to_next_expiry(self) -> float:
        """Return the seconds until a waiting batch expires, at most those until the next cleanup."""
        running = {batch.id for batch in self._running.values()}
        expiries = [batch.expires_at for batch in self._batches.unfinished() if batch.id not in running]
        return min([CLEANUP_INTERVAL_S, *(max(expiry - time.time(), MIN_WAIT_S) for expiry in expiries)])

    def _delete_expired(self) -> None:
        try:
            self._files.delete_expired(used={batch.input_file_id for batch in self._batches.unfinished()})
            self._batches.delete_expired()
        except OSError:
            logger.exception("deleting expired files and batches failed")

    async def _run_batch(self, batch: Batch) -> None:
        while not batch.has_ended:
            try:
                if batch.owner:
                    cache_owner.set(SHARED if self._shares_cache else bytes.fromhex(batch.owner))
                await self._process(batch)
            except Exception as error:
                logger.exception("the batch %s failed", batch.id)
                if not is_disk_error(error):
                    with suppress(OSError):
                        await self._fail(batch, "server_error", "the server failed on this batch: see its log")
            if not batch.has_ended:
                await asyncio.sleep(STORAGE_RETRY_S)

    async def _process(self, batch: Batch) -> None:
        try:
            file = self._files.get(batch.owner, batch.input_file_id)
            await in_thread(self._files.check, file)
            await self._process_file(batch, file)
        except DamagedFileError as error:
            await self._fail(batch, "damaged_file", error.message)
        except (ApiError, FileNotFoundError):
            await self._fail(batch, "missing_file", f"the input file {batch.input_file_id} does not exist")

    async def _process_file(self, batch: Batch, file: StoredFile) -> None:
        path = self._files.path(file)
        if batch.status == "validating" and not await self._validate(batch, path):
            return
        with self._logging_results(batch, await in_thread(self._open_log, batch)) as log:
            if batch.status == "finalizing" and log.completed + log.failed < batch.counts.total:
                batch.status = "in_progress"  # a power failure, or damage of the disk, removed the last results
            if batch.status == "in_progress":
                await self._run_lines(batch, path, log)
                await in_thread(self._files.check, file)  # it could have changed while it was read
            await in_thread(write_outputs, batch, self._lines(batch, path), log, self._files, self._batches)

    def _open_log(self, batch: Batch) -> ResultLog:
        return ResultLog(self._batches.folder(batch) / "results.jsonl", batch.id)

    @contextmanager
    def _logging_results(self, batch: Batch, log: ResultLog) -> Iterator[ResultLog]:
        """Count the size of a log while the block runs, and close it."""
        self._logs[batch.id] = (batch.owner, log)
        try:
            with closing(log):
                yield log
        finally:
            del self._logs[batch.id]

    def _is_over_quota(self, batch: Batch) -> bool:
        """Return True if the files and results of the key of a batch are as large as they may be."""
        results = sum(log.size for owner, log in self._logs.values() if owner == batch.owner)
        return self._files.stored_bytes(batch.owner) + results >= self._limits.stored_bytes

    def _lines(self, batch: Batch, path: Path) -> Iterator[Line]:
        return read_lines(path, {batch.endpoint}, self._limits)

    # --- validation ---------------------------------------------------------------------------------------------------

    async def _validate(self, batch: Batch, path: Path) -> bool:
        """Count the requests; return False if the batch failed."""
        try:
            total, errors = await asyncio.to_thread(self._count, batch, path)
        except TooManyLinesError:
            await self._fail(batch, "too_many_lines", f"the file has more than {self._limits.lines} lines")
            return False
        batch.counts.total = total
        if len(errors) == total:
            batch.errors = errors[:MAX_REPORTED_ERRORS]
            await self._fail(batch, "empty_file", "the file contains no valid request")
            return False
        await in_thread(partial(self._batches.set_status, batch, "in_progress", after={"validating"}))
        return True

    def _count(self, batch: Batch, path: Path) -> tuple[int, list[dict[str, object]]]:
        """Return the number of requests, and the errors of lines that are not requests."""
        total = 0
        errors: list[dict[str, object]] = []
        for line in self._lines(batch, path):
            total += 1
            if line.error is not None:
                errors.append({"code": "invalid_line", "message": line.error, "param": None, "line": line.number})
        return total, errors

    async def _fail(self, batch: Batch, code: str, message: str) -> None:
        batch.errors = [{"code": code, "message": message, "param": None, "line": None}, *batch.errors]
        await in_thread(self._batches.set_status, batch, "failed")

    # --- requests -----------------------------------------------------------------------------------------------------

    async def _run_lines(self, batch: Batch, path: Path, log: ResultLog) -> None:
        """Run the requests that have no result, until the end, the expiry or a cancellation."""
        batch.counts = Counts(batch.counts.total, log.completed, log.failed)
        if self._must_stop(batch):
            return
        lines = self._lines(batch, path)
        async with asyncio.TaskGroup() as tasks:
            while chunk := await asyncio.to_thread(next_chunk, lines):
                for line in chunk:
                    if line.number in log:
                        continue
                    await self.take_slot()
                    if self._must_stop(batch):
                        self._release_slot()
                        return
                    task = tasks.create_task(self._run_line(batch, line, log))
                    task.add_done_callback(self._release_slot)  # also if it is cancelled before it starts

    async def take_slot(self) -> None:
        """Wait until a request may start. Beside live requests, few run: those that compute cannot be interrupted."""
        await self._slots.acquire()
        try:
            while self._num_requests >= self._limits.concurrency_beside_live and self._is_busy():  # noqa: ASYNC110  without events
                await asyncio.sleep(BUSY_CHECK_INTERVAL_S)
        except BaseException:
            self._slots.release()
            raise
        self._num_requests += 1

    def _release_slot(self, _: object = None) -> None:
        self._num_requests -= 1
        self._slots.release()

    def _must_stop(self, batch: Batch) -> bool:
        return batch.status != "in_progress" or is_expired(batch)

    async def _run_line(self, batch: Batch, line: Line, log: ResultLog) -> None:
        stats, model = CallStats(), ""
        if line.error is not None:
            record, is_error = error_record(batch.id, line, "invalid_line", line.error), True
        elif self._is_over_quota(batch):
            record, is_error = error_record(batch.id, line, "storage_quota_exceeded", OVER_QUOTA), True
        else:
            current_stats.set(stats)  # of this line: each runs in a separate task
            name = request_id(batch.id, line)
            answer = await send(self._app, line.url, line.body, name, must_stop=lambda: self._must_stop(batch))
            if answer is None:
                return
            model = answer.model
            record, is_error = answer_record(batch.id, line, answer)
        log.append(line.number, record, is_error=is_error)
        batch.counts = Counts(batch.counts.total, log.completed, log.failed)
        self._on_request(batch, model, stats, is_error)


async def in_thread(function: Callable[..., Result], *arguments: object) -> Result:
    """Run a function in a thread. If cancelled, wait for its end: another server may use the folder afterwards."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def next_chunk(lines: Iterator[Line]) -> list[Line]:
    """Return the next lines of a file, limited in number and size."""
    chunk: list[Line] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line.body)
        if len(chunk) >= MAX_CHUNK_LINES or size >= MAX_CHUNK_BYTES:
            break
    return chunk


def is_expired(batch: Batch) -> bool:
    """True after the completion window of a batch."""
    return time.time() >= batch.expires_at


def is_disk_error(error: Exception) -> bool:
    """True if an exception, or all of a group, come from the file system."""
    if isinstance(error, ExceptionGroup):
        return all(is_disk_error(it) for it in error.exceptions)
    return isinstance(error, OSError)
