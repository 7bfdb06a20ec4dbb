"""Records of text files: lines, JSON texts and cells of CSV, read one at a time with their places. Needs no pyarrow."""

import csv
import json
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from millpond_recipes.errors import InputError

MAX_RECORD_BYTES = 1 << 28
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TEXT, JSONL, CSV, TSV, PARQUET, ARROW = "txt", "jsonl", "csv", "tsv", "parquet", "arrow"
FORMATS_BY_SUFFIX = {
    ".txt": TEXT,
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".csv": CSV,
    ".tsv": TSV,
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".arrow": ARROW,
    ".feather": ARROW,
}
COLUMNAR = (PARQUET, ARROW)
DELIMITERS = {CSV: ",", TSV: "\t"}
ESCAPED_BYTES = 0xDC00  # added to bytes that are not UTF-8
SKIPPED_BYTES = 1 << 20  # read at once from lines that are too long


class Record(NamedTuple):
    """A record of a text file.

    Attributes:
        position: The place of its first byte.
        line: The number of its first line, from 1.
        size: Its size in bytes.
        content: A line without its end, or the cells of CSV; bytes that are not UTF-8 become lone surrogates.
        error: The reason why the cells cannot be read, or "".
    """

    position: int
    line: int
    size: int
    content: Any
    error: str = ""


class Lines:
    """The lines of a file as bytes, without a byte order mark. A line over the limit is cut one byte after it.

    Args:
        file: The file, opened for reading.
        position: The place where it is now.
        max_bytes: The maximum size of a line.

    Attributes:
        position: The place behind the last line.
        number: The number of the last line, from 1.
    """

    def __init__(self, file: BinaryIO, position: int = 0, *, max_bytes: int) -> None:
        self._file, self._max_bytes = file, max_bytes
        self.position, self.number = position, 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Return the next line."""
        line = self._file.readline(self._max_bytes + 1)
        if not line:
            raise StopIteration
        is_first = self.position == 0
        self.position += len(line)
        self.number += 1
        return line.removeprefix(BYTE_ORDER_MARK) if is_first else line

    def skip_rest(self) -> None:
        """Read the rest of a line over the limit, in small parts."""
        while (part := self._file.readline(SKIPPED_BYTES)) and not part.endswith(b"\n"):
            pass


def read_records(file: BinaryIO, name: str, file_format: str, position: int = 0) -> Iterator[Record]:
    """Return an iterator of the records of a file, which does not read ahead. Blank lines are skipped in JSONL and CSV.

    Args:
        file: The file, opened for reading.
        name: Its name in messages.
        file_format: "txt", "jsonl", "csv" or "tsv". The first record of the last two is the header.
        position: The place where the file is now: the start of a record.

    Raises:
        InputError: If a record is over `MAX_RECORD_BYTES`.
    """
    lines = Lines(file, position, max_bytes=MAX_RECORD_BYTES)
    if file_format in DELIMITERS:
        return _CsvRecords(lines, name, DELIMITERS[file_format])
    return _line_records(lines, name, keeps_blank=file_format == TEXT)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: If it is not JSON.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        message = "nested too deeply"
        raise ValueError(message) from error


def invalid_byte(text: str, index: int) -> int | None:
    """Return the byte that a lone surrogate at an index represents; None if it comes from a JSON escape."""
    return ord(text[index]) - ESCAPED_BYTES if "\udc80" <= text[index] <= "\udcff" else None


def _line_records(lines: Lines, name: str, *, keeps_blank: bool) -> Iterator[Record]:
    start = lines.position
    for line in lines:
        _check_size(lines, start, name)
        if keeps_blank or line.strip():
            text = _decoded(line).removesuffix("\n").removesuffix("\r")
            yield Record(start, lines.number, lines.position - start, text)
        start = lines.position


class _CsvRecords:
    """The records of a CSV file, of one line or more. One that is damaged ends with the line where that is found."""

    def __init__(self, lines: Lines, name: str, delimiter: str) -> None:
        self._lines, self._name = lines, name
        self._start: int | None = None
        self._first_line = 0
        self._reader = csv.reader(self._texts(), strict=True, delimiter=delimiter)

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        self._start, cells, error = None, list[str](), ""
        limit = csv.field_size_limit(sys.maxsize)
        try:
            cells = next(self._reader)
        except csv.Error as damage:
            error = str(damage)
        finally:
            csv.field_size_limit(limit)
        start = self._start or 0
        return Record(start, self._first_line, self._lines.position - start, cells, error)

    def _texts(self) -> Iterator[str]:
        """Yield the lines that the parser asks for: those of one record at a time."""
        start = self._lines.position
        for line in self._lines:
            if self._start is None and line.strip(b" \r\n"):
                self._start, self._first_line = start, self._lines.number
            start = self._lines.position
            if self._start is not None:
                _check_size(self._lines, self._start, self._name, is_quoted=self._lines.number > self._first_line)
                yield _decoded(line)


def _check_size(lines: Lines, start: int, name: str, *, is_quoted: bool = False) -> None:
    if lines.position - start > MAX_RECORD_BYTES:
        hint = ": is a quotation mark missing?" if is_quoted else ""
        message = f"{name}: the record at byte {start} is over {MAX_RECORD_BYTES} bytes{hint}"
        raise InputError(message)


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")
