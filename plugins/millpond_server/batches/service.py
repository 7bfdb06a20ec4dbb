"""BatchService: files and batches of a server, and the worker that runs them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from starlette.types import ASGIApp

from millpond_server.batches.batch import UNFINISHED, Batch
from millpond_server.batches.files import FileStore, StoredFile
from millpond_server.batches.limits import DAY_S, BatchLimits
from millpond_server.batches.private import PRIVATE_FILE, prepare_root
from millpond_server.batches.store import BatchStore
from millpond_server.batches.worker import BatchWorker, OnRequest, ignore_request
from millpond_server.http.errors import ApiError
from millpond_server.observability.batch_metrics import FolderCounts
from millpond_server.runtime.settings import Settings
from millpond_storage.files import read_json, write_json

FORMAT = 1  # a server refuses folders of newer formats
MAX_DOWNLOAD_CHECKS = 2  # checksums that are compared at the same time


def batch_limits(settings: Settings) -> BatchLimits:
    """Return the limits that the settings of a server contain."""
    return BatchLimits(
        file_bytes=settings.max_upload_bytes,
        files=settings.max_files,
        stored_bytes=settings.max_stored_bytes,
        batches=settings.max_batches,
        line_bytes=settings.limits.body_bytes,
        line_values=settings.limits.tokens,
        retention_s=settings.batch_retention_days * DAY_S,
    )


class BatchService:
    """Files and batches in a folder, which belongs to one server at a time.

    Args:
        folder: The folder; it is created if it does not exist.
        limits: The limits.
        shares_cache: True if all API keys share the cache of results.

    Attributes:
        files: The files of clients.
        batches: The batches of clients.
        endpoints: The paths that requests of batches may go to.
        on_request: Called when a request of a batch has ended, with the name of its model and its counts.

    Raises:
        ValueError: If a different server uses the folder, other users can write to it, it has a newer format, or it
            cannot be created.
    """

    def __init__(self, folder: str, limits: BatchLimits, *, shares_cache: bool = False) -> None:
        path = Path(folder)
        try:
            prepare_root(path)
            self._lock = FileLock(path / ".lock", mode=PRIVATE_FILE, thread_local=False)
            self._lock.acquire(timeout=0)
            with releasing_after_error(self._lock):
                check_format(path / "format.json")
                self.files = FileStore(path / "files", limits)
                self.batches = BatchStore(path / "batches", limits)
        except Timeout:
            message = f"--batch-dir {folder}: a different server uses this folder"
            raise ValueError(message) from None
        except OSError as error:
            message = f"--batch-dir {folder}: {error.strerror or error}"
            raise ValueError(message) from error
        self.endpoints: frozenset[str] = frozenset()
        self._limits, self._shares_cache = limits, shares_cache
        self._uploads: Counter[str] = Counter()
        self._download_checks = asyncio.Semaphore(MAX_DOWNLOAD_CHECKS)
        self.on_request: OnRequest = ignore_request
        self._notify: Callable[[], None] = lambda: None

    async def run(self, app: ASGIApp, *, is_busy: Callable[[], bool]) -> None:
        """Run batches until cancelled.

        Args:
            app: The application, without middleware.
            is_busy: Returns True while live requests run.
        """
        worker = BatchWorker(
            app,
            self.files,
            self.batches,
            self._limits,
            is_busy=is_busy,
            shares_cache=self._shares_cache,
            on_request=self.on_request,
        )
        self._notify = worker.notify
        try:
            await worker.run()
        finally:
            self._notify = lambda: None
            self._lock.release()

    def counts(self) -> FolderCounts:
        """Return the number of batches that have not ended, and of files."""
        batches = Counter(batch.status for batch in self.batches.unfinished())
        sizes = self.files.sizes()
        return FolderCounts({status: batches[status] for status in UNFINISHED}, len(sizes), sum(sizes))

    @contextmanager
    def uploading(self, owner: str) -> Iterator[None]:
        """Count an upload while the block runs.

        Raises:
            ApiError: 503 if too many files are being uploaded; 400 if the key has reached its quota of files or bytes.
        """
        total, of_key = self.num_uploads, self._uploads[owner]
        if total >= self._limits.uploads or (owner and of_key >= self._limits.uploads_of_key):
            whose = "" if total >= self._limits.uploads else " with this API key"
            message = f"{of_key if whose else total} files are being uploaded{whose}, the maximum: try again later"
            raise ApiError(503, message, retry_after=1.0, reason="intake")
        self._uploads[owner] += 1
        try:
            with self.files.reserving(owner):
                yield
        finally:
            self._uploads -= Counter({owner: 1})  # removes zeros

    @property
    def num_uploads(self) -> int:
        """The number of files that are being uploaded."""
        return self._uploads.total()

    async def check_content(self, file: StoredFile) -> None:
        """Compare the content of a file with its checksum before it is sent.

        Raises:
            ApiError: 500 if it is damaged.
            OSError: If it cannot be read.
        """
        async with self._download_checks:
            await asyncio.to_thread(self.files.check, file)

    def reader_of(self, file: StoredFile) -> Batch | None:
        """Return an unfinished batch whose input is a file."""
        return next((batch for batch in self.batches.unfinished() if batch.input_file_id == file.id), None)

    async def create(self, owner: str, **fields: Any) -> Batch:
        """Add a batch with the fields of `BatchStore.create`; the worker starts it.

        Raises:
            ApiError: 400 if the key has too many files or bytes, 429 if it has too many unfinished batches.
            OSError: If the disk is full.
        """
        self.files.check_outputs(owner)
        try:
            return await asyncio.to_thread(self.batches.create, owner, **fields)
        finally:
            self._notify()

    async def cancel(self, batch: Batch) -> None:
        """Stop a batch; requests that run are finished. Without effect while its files are written."""
        await asyncio.to_thread(self.batches.set_status, batch, "cancelling", after={"validating", "in_progress"})
        self._notify()


@contextmanager
def releasing_after_error(lock: FileLock) -> Iterator[None]:
    """Release a lock if the block fails."""
    try:
        yield
    except BaseException:
        lock.release()
        raise


def check_format(path: Path) -> None:
    """Check the format of a folder, or write it for a new one.

    Raises:
        ValueError: If the format is newer, or the file is damaged.
    """
    if not path.exists():
        write_json(path, {"format": FORMAT}, private=True)
        return
    fields = read_json(path)
    version = fields.get("format") if isinstance(fields, dict) else None
    if not isinstance(version, int):
        message = f"{path} is damaged: it contains no format"
        raise ValueError(message)  # noqa: TRY004
    if version > FORMAT:
        message = f"{path}: the format {version} is newer than {FORMAT}, the newest that this version of Millpond reads"
        raise ValueError(message)
