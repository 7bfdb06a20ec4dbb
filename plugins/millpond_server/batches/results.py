"""ResultLog: results of a batch in the order of their completion, which survives a crash of the server."""

import errno
import hashlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from millpond_server.batches.private import open_private

logger = logging.getLogger(__name__)
RECORD = b',"record":'
ENTRY = re.compile(rb'\{"line":(?P<line>[0-9]{1,9}),"error":(?P<error>true|false),"record":\{.*\}\}', re.DOTALL)
DIGEST_CHARS = 64  # at the start of each line, followed by a space


class ResultLog:
    """A file to which each result is appended, as one line with a checksum and the number of its request.

    Damaged lines, and the line that a crash left incomplete, are ignored: their requests run again.

    Args:
        path: The file; it is created if it does not exist.
        batch_id: The id of the batch. Lines of other batches count as damaged.

    Attributes:
        completed: The number of results.
        failed: The number of errors.
        size: The size of the file in bytes.
    """

    def __init__(self, path: Path, batch_id: str) -> None:
        self._path, self._batch_id = path, batch_id.encode()
        self._offsets: dict[int, tuple[int, int]] = {}  # line number: offset and length in the file
        self._failed: set[int] = set()
        self._file: BinaryIO = open_private(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, "a+b")
        self.size = 0
        self._read()

    def __contains__(self, number: int) -> bool:
        """True if the request of a line has a result."""
        return number in self._offsets

    @property
    def completed(self) -> int:
        """The number of results."""
        return len(self._offsets) - len(self._failed)

    @property
    def failed(self) -> int:
        """The number of errors."""
        return len(self._failed)

    def append(self, number: int, record: dict[str, Any], *, is_error: bool) -> None:
        """Write a result.

        Args:
            number: The number of the line.
            record: The line of the output or error file.
            is_error: True for the error file.
        """
        entry = orjson.dumps({"line": number, "error": is_error, "record": record})
        line = self._digest(entry) + b" " + entry + b"\n"
        offset = self._file.seek(0, 2)
        self._file.write(line)
        self._file.flush()
        self.size = offset + len(line)
        self._note(number, offset, len(line), is_error=is_error)

    def records(self, *, errors: bool) -> Iterator[tuple[int, bytes]]:
        """Yield line numbers and records of the output file or of the error file as JSON, in the order of the input.

        Raises:
            OSError: If a line was damaged after it was written. A new ``ResultLog`` ignores it.
        """
        with self._path.open("rb") as file:
            for number in sorted(self._offsets):
                if (number in self._failed) == errors:
                    offset, size = self._offsets[number]
                    file.seek(offset)
                    entry = self._entry(file.read(size))
                    if entry is None:
                        raise OSError(errno.EIO, f"the result of line {number} is damaged", str(self._path))
                    yield number, entry[entry.index(RECORD) + len(RECORD) : -1]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        self._file.seek(0)
        num_damaged = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break  # a crash interrupted the last one
            entry = self._entry(line)
            match = None if entry is None else ENTRY.fullmatch(entry)
            if match is None:
                num_damaged += 1
            else:
                self._note(int(match["line"]), self.size, len(line), is_error=match["error"] == b"true")
            self.size += len(line)
        self._file.truncate(self.size)
        if num_damaged:
            logger.warning("%s: %d damaged results are computed again", self._path, num_damaged)

    def _entry(self, line: bytes) -> bytes | None:
        """Return the content of a line; None if it differs from its checksum."""
        entry = line[DIGEST_CHARS + 1 : -1]
        return entry if line[: DIGEST_CHARS + 1] == self._digest(entry) + b" " else None

    def _digest(self, entry: bytes) -> bytes:
        return hashlib.sha256(self._batch_id + entry).hexdigest().encode()

    def _note(self, number: int, offset: int, size: int, *, is_error: bool) -> None:
        self._offsets[number] = (offset, size)
        (self._failed.add if is_error else self._failed.discard)(number)
