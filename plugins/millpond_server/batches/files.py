"""FileStore: the files of a server's clients, in a folder."""

import errno
import hashlib
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, ClassVar, Literal, cast
from uuid import uuid4

from pydantic import Field

from millpond_server.batches.batch import Count, Owner, Time
from millpond_server.batches.entries import read_entries
from millpond_server.batches.limits import BatchLimits
from millpond_server.batches.private import PRIVATE_FOLDER, make_private, open_private
from millpond_server.http.errors import ApiError
from millpond_storage.checked import write_checked
from millpond_storage.files import write_durably

if TYPE_CHECKING:
    from io import BufferedReader

FILE_ID = re.compile(r"file-[0-9a-f]{32}")
CONTENT, DESCRIPTION = "content", "file.json"
MAX_NAME_CHARS = 255
NOT_A_FILE = frozenset({errno.ELOOP, errno.EINVAL})  # a link, a pipe or a device in place of a file
INVALID_REQUEST = "invalid_request_error"  # the type of OpenAI's errors
Purpose = Literal["batch", "batch_output"]


class DamagedFileError(ApiError):
    """The content of a file differs from its checksum."""

    def __init__(self, file: "StoredFile") -> None:
        fix = "upload it again" if file.purpose == "batch" else "run the batch again"
        message = f"the content of {file.id} is damaged: it differs from its checksum; {fix}"
        super().__init__(500, message, kind="damaged_file", parameter="file_id", reason="damaged")


class HashingWriter:
    """Writes to a file and computes the SHA-256 of what it writes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Write bytes."""
        self.sha256.update(data)
        self.size += len(data)
        self._file.write(data)


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
        sha256: The digest of its content.
    """

    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}

    id: str
    owner: Owner
    bytes: Count
    created_at: Time
    expires_at: Time
    filename: Annotated[str, Field(max_length=MAX_NAME_CHARS)]
    purpose: Purpose
    sha256: str

    def as_response(self) -> dict[str, Any]:
        """Return the file as OpenAI's API describes it."""
        fields = asdict(self)
        del fields["owner"], fields["sha256"]
        return {**fields, "object": "file", "status": "processed", "status_details": None}


class FileStore:
    """The files of all API keys. Its methods may be called in several threads.

    A file is a folder with its content and a description, which is written last and contains a checksum of the content.

    Args:
        folder: The folder of files.
        limits: The limits.
    """

    def __init__(self, folder: Path, limits: BatchLimits) -> None:
        self._folder, self._limits = folder, limits
        make_private(folder)
        files = read_entries(folder, FILE_ID, DESCRIPTION, StoredFile)
        self._files = {file.id: file for file in sorted(files, key=lambda it: it.created_at)}
        self._uploading: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()  # by owner, with those that are being stored
        for file in self._files.values():
            self._bytes[file.owner] += file.bytes
        self._lock = Lock()

    def create(
        self,
        owner: str,
        filename: str,
        purpose: Purpose,
        write: Callable[[HashingWriter], None],
        *,
        file_id: str | None = None,
    ) -> StoredFile:
        """Store a file.

        Args:
            owner: The hash of the API key.
            filename: Its name.
            purpose: "batch" or "batch_output".
            write: Writes the content.
            file_id: Its id; an existing file is replaced (default: a new id).

        Raises:
            OSError: If the disk is full.
        """
        file_id = file_id or f"file-{uuid4().hex}"
        path = self._folder / file_id
        writers: list[HashingWriter] = []

        def write_and_hash(temporary: Path) -> None:
            with temporary.open("r+b") as content:
                writers.append(HashingWriter(content))
                write(writers[0])

        path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        try:
            write_durably(path / CONTENT, write_and_hash, private=True)
            created = int(time.time())
            file = StoredFile(
                id=file_id,
                owner=owner,
                bytes=writers[0].size,
                created_at=created,
                expires_at=created + int(self._limits.retention_s),
                filename=filename[:MAX_NAME_CHARS],
                purpose=purpose,
                sha256=writers[0].sha256.hexdigest(),
            )
            write_checked(path / DESCRIPTION, asdict(file), private=True)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        with self._lock:
            self._remove(file_id)
            self._files[file_id] = file
            self._bytes[owner] += file.bytes
        return file

    def _remove(self, file_id: str) -> None:
        file = self._files.pop(file_id, None)
        if file is not None:
            self._bytes[file.owner] -= file.bytes

    def stored_bytes(self, owner: str) -> int:
        """Return the size of the files of an API key, with those that are being stored."""
        return self._bytes[owner]

    @contextmanager
    def reserving_bytes(self, owner: str, size: int) -> Iterator[None]:
        """Count the bytes of a file while it is stored in the block.

        Raises:
            ApiError: 400 if the files of the key would be too large together.
        """
        with self._lock:
            if self._bytes[owner] + size > self._limits.stored_bytes:
                raise self._too_large()
            self._bytes[owner] += size
        try:
            yield
        finally:
            with self._lock:
                self._bytes[owner] -= size

    @contextmanager
    def reserving(self, owner: str) -> Iterator[None]:
        """Reserve one of a key's files for an upload while the block runs.

        Raises:
            ApiError: 400 if the key has too many files, or too many bytes.
        """
        with self._lock:
            if self._count(owner) + self._uploading[owner] >= self._limits.files:
                raise self._too_many()
            if self._bytes[owner] >= self._limits.stored_bytes:
                raise self._too_large()
            self._uploading[owner] += 1
        try:
            yield
        finally:
            with self._lock:
                self._uploading[owner] -= 1
                self._uploading += Counter()  # removes zeros

    def check_outputs(self, owner: str) -> None:
        """Refuse a new batch of a key with too many files or bytes, because it would add its outputs.

        Raises:
            ApiError: 400 if the key has more files or bytes than the maximum.
        """
        with self._lock:
            if self._count(owner) > self._limits.files:
                raise self._too_many()
            if self._bytes[owner] > self._limits.stored_bytes:
                raise self._too_large()

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

    def check(self, file: StoredFile) -> None:
        """Compare the content of a file with its checksum.

        Raises:
            DamagedFileError: If it differs, or a link or a pipe has taken its place.
            OSError: If it cannot be read.
        """
        try:
            with open_private(self.path(file), os.O_RDONLY, "rb") as content:
                digest = hashlib.file_digest(cast("BufferedReader", content), "sha256").hexdigest()
        except OSError as error:
            if error.errno in NOT_A_FILE:
                raise DamagedFileError(file) from error
            raise
        if digest != file.sha256:
            raise DamagedFileError(file)

    def delete(self, file: StoredFile) -> None:
        """Delete a file; its description goes first."""
        with self._lock:
            self._remove(file.id)
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
        return ApiError(400, message, kind=INVALID_REQUEST, parameter="file", reason="quota")

    def _too_large(self) -> ApiError:
        message = (
            f"You have exceeded your file storage quota: the files of an API key may have {self._limits.stored_bytes} "
            "bytes together. Delete files, or upload a smaller one."
        )
        return ApiError(400, message, kind=INVALID_REQUEST, reason="quota")

    def _count(self, owner: str) -> int:
        return sum(file.owner == owner for file in self._files.values())
