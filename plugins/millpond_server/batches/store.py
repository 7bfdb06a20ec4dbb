"""BatchStore: the batches of a server, in a folder."""

import re
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from uuid import uuid4

from millpond_server.batches.batch import Batch, Status
from millpond_server.batches.entries import read_entries
from millpond_server.batches.limits import BatchLimits
from millpond_server.batches.private import PRIVATE_FOLDER, make_private
from millpond_server.http.errors import ApiError
from millpond_storage.checked import write_checked

BATCH_ID = re.compile(r"batch_[0-9a-f]{32}")
DESCRIPTION = "batch.json"


class BatchStore:
    """The batches of all API keys. Its methods may be called in several threads.

    Args:
        folder: The folder of batches.
        limits: The limits.

    Attributes:
        on_status: Called after each change of a batch's status, in any thread.
    """

    def __init__(self, folder: Path, limits: BatchLimits) -> None:
        self.on_status: Callable[[Batch], None] = lambda _: None
        self._folder, self._limits = folder, limits
        make_private(folder)
        batches = read_entries(folder, BATCH_ID, DESCRIPTION, Batch)
        self._batches = {batch.id: batch for batch in sorted(batches, key=lambda it: it.created_at)}
        self._lock = Lock()

    def create(
        self,
        owner: str,
        *,
        endpoint: str,
        input_file_id: str,
        window: str,
        seconds: int,
        metadata: dict[str, str] | None,
    ) -> Batch:
        """Add a batch with the status "validating".

        Raises:
            ApiError: 429 if the key has too many batches that have not ended.
            OSError: If the disk is full.
        """
        created = int(time.time())
        batch = Batch(
            id=f"batch_{uuid4().hex}",
            owner=owner,
            endpoint=endpoint,
            input_file_id=input_file_id,
            completion_window=window,
            created_at=created,
            expires_at=created + seconds,
            metadata=metadata,
        )
        with self._lock:
            batches = [it for it in self._batches.values() if it.owner == owner]
            ended = [it for it in batches if it.has_ended]
            if len(batches) - len(ended) >= self._limits.batches:
                message = (
                    f"this API key has {self._limits.batches} unfinished batches, the maximum: try again once some "
                    "batches have ended"
                )
                raise ApiError(429, message, kind="rate_limit_exceeded", reason="quota")
            self.folder(batch).mkdir(mode=PRIVATE_FOLDER)
            try:
                self._write(batch)
            except BaseException:
                shutil.rmtree(self.folder(batch), ignore_errors=True)
                raise
            self._batches[batch.id] = batch
        for oldest in ended[: max(len(ended) - self._limits.ended_batches, 0)]:
            self._delete(oldest)
        return batch

    def set_status(self, batch: Batch, status: Status, *, after: Collection[Status] | None = None) -> bool:
        """Change the status of a batch, and write all its fields to the disk.

        Args:
            batch: The batch.
            status: The new status.
            after: The statuses that may precede it (default: all).

        Returns:
            False if a different status precedes it; the batch is unchanged then.

        Raises:
            OSError: If the disk is full. The status is unchanged then.
        """
        with self._lock:
            if after is not None and batch.status not in after:
                return False
            previous = batch.status, dict(batch.times)
            batch.status = status
            batch.times[f"{status}_at"] = int(time.time())
            try:
                self._write(batch)
            except BaseException:
                batch.status, batch.times = previous
                raise
        self.on_status(batch)
        return True

    def of_owner(self, owner: str) -> list[Batch]:
        """Return the batches of an API key, the newest first."""
        with self._lock:
            return [batch for batch in reversed(self._batches.values()) if batch.owner == owner]

    def get(self, owner: str, batch_id: str) -> Batch:
        """Return a batch.

        Raises:
            ApiError: 404 if it does not exist, or belongs to a different key.
        """
        batch = self._batches.get(batch_id)
        if batch is None or batch.owner != owner:
            raise ApiError(404, f"No such batch: {batch_id[:64]!r}", kind="NotFoundError", parameter="batch_id")
        return batch

    def unfinished(self) -> list[Batch]:
        """Return the batches that have not ended, the oldest first."""
        with self._lock:
            return [batch for batch in self._batches.values() if not batch.has_ended]

    def folder(self, batch: Batch) -> Path:
        """Return the folder of a batch."""
        return self._folder / batch.id

    def delete_expired(self) -> None:
        """Delete ended batches after their retention."""
        oldest = time.time() - self._limits.retention_s
        with self._lock:
            batches = [it for it in self._batches.values() if it.has_ended and it.created_at < oldest]
        for batch in batches:
            self._delete(batch)

    def _delete(self, batch: Batch) -> None:
        with self._lock:
            self._batches.pop(batch.id, None)
        (self.folder(batch) / DESCRIPTION).unlink(missing_ok=True)
        shutil.rmtree(self.folder(batch), ignore_errors=True)

    def _write(self, batch: Batch) -> None:
        write_checked(self.folder(batch) / DESCRIPTION, asdict(batch), private=True)
