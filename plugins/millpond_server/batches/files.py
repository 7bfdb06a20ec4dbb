"""FileStore: the files of a server's clients, in a folder."""

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from millpond_server.batches.entries import read_entries
from millpond_server.batches.limits import BatchLimits
from millpond_server.http.errors import ApiError
from millpond_storage.files import write_durably, write_json

FILE_ID = re.compile(r"file-[0-9a-f]{32}")
CONTENT, DESCRIPTION = "content", "file.json"
MAX_NAME_CHARS = 255


@dataclass(frozen=True)
class StoredFile:
    """A file.

    Attributes:
        id: Its id.
        owner: The hash of the API key that it belongs to; empty for servers without keys.
        bytes: Its size.
        created_at: The time of its creation, in seconds since 1970.
        expires_at: The time after which it is deleted.
        filename: The name that the client sent.
        purpose: "batch" or "batch_output".
    """

    id: str
    owner: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str

    def as_response(self) -> dict[str, Any]:
        """Return the file as OpenAI's API describes it."""
        fields = asdict(self)
        del fields["owner"]
        return {**fields, "object": "file", "status": "processed", "status_details": None}


class FileStore:
    """The files of all API keys. Its methods may be called in several threads.

    A file is a folder with its content and a description, which is written last.

    Args:
        folder: The folder of files.
        limits: The limits.
    """

    def __init__(self, folder: Path, limits: BatchLimits) -> None:
        self._folder, self._limits = folder, limits
        folder.mkdir(parents=True, exist_ok=True)
        files = read_entries(folder, FILE_ID, DESCRIPTION, lambda fields: StoredFile(**fields))
        self._files = {file.id: file for file in sorted(files, key=lambda it: it.created_at)}
        self._uploading: Counter[str] = Counter()
        self._lock = Lock()

    def create(
        self, owner: str, filename: str, purpose: str, write: Callable[[Path], None], *, file_id: str | None = None
    ) -> StoredFile:
        """Store a file.

        Args:
            owner: The hash of the API key.
            filename: Its name.
            purpose: "batch" or "batch_output".
            write: Writes the content under the path it receives.
            file_id: Its id; an existing file is replaced (default: a new id).

        Raises:
            OSError: If the disk is full.
        """
        file_id = file_id or f"file-{uuid4().hex}"
        path = self._folder / file_id
        path.mkdir(exist_ok=True)
        try:
            write_durably(path / CONTENT, write)
            created = int(time.time())
            file = StoredFile(
                id=file_id,
                owner=owner,
                bytes=(path / CONTENT).stat().st_size,
                created_at=created,
                expires_at=created + int(self._limits.retention_s),
                filename=filename[:MAX_NAME_CHARS],
                purpose=purpose,
            )
            write_json(path / DESCRIPTION, asdict(file))
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        with self._lock:
            self._files[file_id] = file
        return file

    @contextmanager
    def reserving(self, owner: str) -> Iterator[None]:
        """Reserve one of a key's files for an upload while the block runs.

        Raises:
            ApiError: 400 if the key has too many files.
        """
        with self._lock:
            if self._count(owner) + self._uploading[owner] >= self._limits.files:
                raise self._too_many()
            self._uploading[owner] += 1
        try:
            yield
        finally:
            with self._lock:
                self._uploading[owner] -= 1
                self._uploading += Counter()  # removes zeros

    def check_outputs(self, owner: str) -> None:
        """Refuse a new batch of a key with too many files, because it would add its outputs.

        Raises:
            ApiError: 400 if the key has more files than the maximum.
        """
        with self._lock:
            if self._count(owner) > self._limits.files:
                raise self._too_many()

    def of_owner(self, owner: str) -> list[StoredFile]:
        """Return the files of an API key, the newest first."""
        with self._lock:
            return [file for file in reversed(self._files.values()) if file.owner == owner]

    def sizes(self) -> list[int]:
        """Return the size of each file in bytes."""
        with self._lock:
            return [file.bytes for file in self._files.values()]

    def get(self, owner: str, file_id: str) -> StoredFile:
        """Return a file.

        Raises:
            ApiError: 404 if it does not exist, or belongs to a different key.
        """
        file = self._files.get(file_id)
        if file is None or file.owner != owner:
            raise ApiError(404, f"No such file: {file_id[:64]!r}", kind="NotFoundError", parameter="file_id")
        return file

    def path(self, file: StoredFile) -> Path:
        """Return the path of a file's content."""
        return self._folder / file.id / CONTENT

    def delete(self, file: StoredFile) -> None:
        """Delete a file; its description goes first."""
        with self._lock:
            self._files.pop(file.id, None)
        (self._folder / file.id / DESCRIPTION).unlink(missing_ok=True)
        shutil.rmtree(self._folder / file.id, ignore_errors=True)

    def delete_expired(self, used: Collection[str]) -> None:
        """Delete files after their retention.

        Args:
            used: The ids of files that are kept, because batches read them.
        """
        with self._lock:
            files = list(self._files.values())
        for file in files:
            if file.expires_at <= time.time() and file.id not in used:
                self.delete(file)

    def _too_many(self) -> ApiError:
        message = f"this API key has at least {self._limits.files} files, the maximum: delete some"
        return ApiError(400, message, parameter="file", reason="invalid")

    def _count(self, owner: str) -> int:
        return sum(file.owner == owner for file in self._files.values())
