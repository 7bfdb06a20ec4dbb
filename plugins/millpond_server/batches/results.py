"""ResultLog: results of a batch in the order of their completion, which survives a crash of the server."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

RECORD = b',"record":'
ENTRY = re.compile(rb'\{"line":(?P<line>[0-9]+),"error":(?P<error>true|false),"record":\{[^\0]*\}\}\n')


class ResultLog:
    """A file to which each result is appended, as one line with the number of its request.

    Lines that a crash left incomplete are removed with all that follow: their requests run again.

    Args:
        path: The file; it is created if it does not exist.

    Attributes:
        completed: The number of results.
        failed: The number of errors.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[int, tuple[int, int]] = {}  # line number: offset and length in the file
        self._failed: set[int] = set()
        self._file: BinaryIO = path.open("a+b")
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
        line = orjson.dumps({"line": number, "error": is_error, "record": record}) + b"\n"
        offset = self._file.seek(0, 2)
        self._file.write(line)
        self._file.flush()
        self._note(number, offset, len(line), is_error=is_error)

    def records(self, *, errors: bool) -> Iterator[tuple[int, bytes]]:
        """Yield line numbers and records of the output file or of the error file as JSON, in the order of the input."""
        with self._path.open("rb") as file:
            for number in sorted(self._offsets):
                if (number in self._failed) == errors:
                    offset, size = self._offsets[number]
                    file.seek(offset)
                    line = file.read(size)
                    yield number, line[line.index(RECORD) + len(RECORD) : -2]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        self._file.seek(0)
        offset = 0
        for line in self._file:
            match = ENTRY.fullmatch(line)
            if match is None:
                break
            self._note(int(match["line"]), offset, len(line), is_error=match["error"] == b"true")
            offset += len(line)
        self._file.truncate(offset)

    def _note(self, number: int, offset: int, size: int, *, is_error: bool) -> None:
        self._offsets[number] = (offset, size)
        if is_error:
            self._failed.add(number)
