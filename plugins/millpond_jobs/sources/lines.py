"""Text files as inputs: JSONL and CSV, plain or compressed, one record after the other."""

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from millpond_jobs.sources.plan import Record, Shard
from millpond_recipes.errors import InputError
from millpond_recipes.rows import Rows

BUFFER_BYTES = 1 << 20
MAX_RECORD_BYTES = 1 << 28
SCHEMA_RECORDS = 1000  # in which the types of columns are looked up: the first ones may be null or damaged
MAX_INTEGER = 2**63 - 1
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
QUOTE = b'"'
Fields = dict[str, Any]


class TextFile(ABC):
    """A file of records in text.

    Args:
        path: The file.
        columns: The columns to read.
        compression: "gzip" or "zstd"; None for none.
    """

    is_quoted = False
    has_header = False

    def __init__(self, path: Path, columns: Sequence[str], compression: str | None = None) -> None:
        self.path, self.columns, self._compression = path, tuple(columns), compression

    @abstractmethod
    def parse(self, record: bytes) -> Fields:
        """Return the fields of a record.

        Raises:
            ValueError: If it is damaged.
        """

    def schema(self) -> pa.Schema:
        """Return the columns of the first records that can be read, and the types of those that the recipe reads."""
        types: dict[str, pa.DataType] = {}
        for fields in islice(self._readable(), SCHEMA_RECORDS):
            for name, value in fields.items():
                if types.get(name, pa.null()) == pa.null():
                    types[name] = _arrow_type(value) if name in self.columns else pa.null()
            if all(types.get(name, pa.null()) != pa.null() for name in self.columns):
                break
        return pa.schema((types or dict.fromkeys(self.columns, pa.null())).items())

    def _readable(self) -> Iterator[Fields]:
        with self.stream() as file:
            for _, record in self.split(file):
                with suppress(ValueError):  # a damaged row fails when it is read, with its number
                    yield self.parse(record)

    def records(self) -> Iterator[Record]:
        """Yield the positions and sizes of all records. Positions in a compressed file are those in its content."""
        with self.stream() as file:
            for number, (position, record) in enumerate(self.split(file)):
                yield Record(position, number if self._compression else 0, len(record))

    def values(self, column: str) -> Iterator[Any]:
        """Yield the texts and integers of one column; None for other values and damaged records."""
        with self.stream() as file:
            for _, record in self.split(file):
                try:
                    value = self.parse(record).get(column)
                except ValueError:
                    value = None
                yield value if type(value) in (int, str) else None

    def open(self) -> "TextReader":
        """Open the file to read rows."""
        return TextReader(self, _is_integer(self.schema(), self.columns))

    @property
    def can_seek(self) -> bool:
        """True if reading can start at any record."""
        return self._compression is None

    @contextmanager
    def stream(self) -> Iterator[BinaryIO]:
        """Open the file as bytes, decompressed.

        Raises:
            InputError: If it cannot be read.
        """
        try:
            with self.path.open("rb", buffering=BUFFER_BYTES) as file:
                if self._compression is None:
                    yield file
                    return
                with pa.CompressedInputStream(pa.PythonFile(file), self._compression) as inner:
                    yield io.BufferedReader(inner, BUFFER_BYTES)
        except OSError as error:
            message = f"cannot read {self.path}: {error}"
            raise InputError(message) from error

    def split(self, file: BinaryIO, position: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the records from a position, each with its own; blank lines and the header are passed over."""
        is_header = self.has_header and position == 0
        start, parts, in_quotes = position, [], False
        while line := file.readline(MAX_RECORD_BYTES + 1):
            parts.append(line)
            position += len(line)
            if position - start > MAX_RECORD_BYTES:
                hint = ": is a quotation mark missing?" if in_quotes else ""
                message = f"{self.path}: the record at byte {start} is over {MAX_RECORD_BYTES} bytes{hint}"
                raise InputError(message)
            if self.is_quoted:
                in_quotes ^= line.count(QUOTE) % 2 == 1
                if in_quotes:
                    continue  # a line break within quotes
            record = b"".join(parts).removeprefix(BYTE_ORDER_MARK if start == 0 else b"")
            if record.strip() and not is_header:
                yield start, record
            is_header = is_header and not record.strip()
            start, parts = position, []
        if parts:
            yield start, b"".join(parts)


class JsonlFile(TextFile):
    """A file with one JSON object per line."""

    def parse(self, record: bytes) -> Fields:
        """Return the members of the object."""
        try:
            value = json.loads(record)
        except RecursionError as error:
            message = "nested too deeply"
            raise ValueError(message) from error
        if not isinstance(value, dict):
            message = f"expected a JSON object, got {type(value).__name__}"
            raise ValueError(message)  # noqa: TRY004  the record is damaged, not the caller's argument
        return value


class CsvFile(TextFile):
    """A file of comma- or tab-separated values with a header."""

    is_quoted = True
    has_header = True
    _names: list[str] | None = None

    @property
    def names(self) -> list[str]:
        """The names of its columns, from the header."""
        if self._names is None:
            with self.stream() as file:
                header = next(self._header(file), b"")
            self._names = self._cells(header)
        return self._names

    def _header(self, file: BinaryIO) -> Iterator[bytes]:
        self.has_header = False
        try:
            yield from (record for _, record in self.split(file))
        finally:
            self.has_header = True

    def schema(self) -> pa.Schema:
        """Return the columns, all of texts. A file without a header has no rows."""
        kind, names = (pa.string(), self.names) if self.names else (pa.null(), self.columns)
        return pa.schema([(name, kind) for name in names])

    def parse(self, record: bytes) -> Fields:
        """Return the cells by the names of their columns."""
        cells = self._cells(record)
        if len(cells) != len(self.names):
            message = f"expected {len(self.names)} cells, got {len(cells)}"
            raise ValueError(message)
        return dict(zip(self.names, cells, strict=True))

    def _cells(self, record: bytes) -> list[str]:
        delimiter = "\t" if ".tsv" in self.path.suffixes else ","
        limit = csv.field_size_limit(max(len(record), csv.field_size_limit()))
        try:
            return next(
                csv.reader(io.StringIO(record.decode("utf-8"), newline=""), delimiter=delimiter, strict=True), []
            )
        except csv.Error as error:
            raise ValueError(str(error)) from error
        finally:
            csv.field_size_limit(limit)


class TextReader:
    """An open text file."""

    def __init__(self, file: TextFile, integers: frozenset[str]) -> None:
        self._file, self._integers = file, integers
        self._opened: Any = None
        self._records: Iterator[tuple[int, bytes]] = iter(())
        self._row = -1

    def read(self, shard: Shard) -> Rows:
        """Return the rows of a shard. A record that is damaged becomes a row with nulls and an error.

        Raises:
            InputError: If the file ends before.
        """
        if self._row != shard.start:
            self._go_to(shard)
        columns: dict[str, list[Any]] = {name: [] for name in self._file.columns}
        errors: dict[int, str] = {}
        for index in range(shard.rows):
            item = next(self._records, None)
            if item is None:
                message = f"{self._file.path} ends before row {shard.start + index}: it has changed"
                raise InputError(message)
            self._row += 1
            self._append(item[1], columns, errors, index)
        return Rows(columns, errors)

    def _append(self, record: bytes, columns: dict[str, list[Any]], errors: dict[int, str], index: int) -> None:
        values: dict[str, Any] = dict.fromkeys(columns)
        try:
            fields = self._file.parse(record)
            for name in columns:  # the id is the first column: it is kept if a later one is invalid
                values[name] = self._value(fields, name)
        except ValueError as error:
            errors[index] = f"the row cannot be read: {error}"
        for name, column in columns.items():
            column.append(values[name])

    def _value(self, fields: Fields, name: str) -> Any:
        if name not in fields:
            message = f"it has no {name!r}"
            raise ValueError(message)
        value = fields[name]
        expected = int if name in self._integers else str
        if type(value) is expected:
            _check_storable(name, value)
        if value is None or (type(value) is expected) or _is_messages(value):
            return value
        if expected is str and isinstance(value, int | float) and not isinstance(value, bool):
            message = f"{name!r} is a number; expected text"
        else:
            message = f"{name!r} is {type(value).__name__}; expected {'an integer' if expected is int else 'text'}"
        raise ValueError(message)

    def _go_to(self, shard: Shard) -> None:
        if not self._file.can_seek and self._opened is not None and 0 <= self._row < shard.start:
            for _ in range(shard.start - self._row):
                next(self._records, None)
        else:
            self._open_at(shard)
        self._row = shard.start

    def _open_at(self, shard: Shard) -> None:
        self.close()
        self._opened = self._file.stream()
        file = self._opened.__enter__()
        position = shard.position if self._file.can_seek else 0
        if position:
            file.seek(position)
        self._records = self._file.split(file, position)
        for _ in range(0 if self._file.can_seek else shard.start):
            next(self._records, None)

    def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            self._opened.__exit__(None, None, None)
        self._opened, self._records, self._row = None, iter(()), -1


def _is_messages(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _check_storable(name: str, value: int | str) -> None:
    """Check that a value can be stored as Arrow's integers and texts.

    Raises:
        ValueError: If it cannot.
    """
    if isinstance(value, int):
        if not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
            message = f"{name!r} is over 64 bits"
            raise ValueError(message)
    elif not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            message = f"{name!r} has a lone surrogate at character {error.start} and is not valid Unicode"
            raise ValueError(message) from error


def _arrow_type(value: object) -> pa.DataType:
    """Return the type of a value as planning reports it; the contents of lists and objects are not looked at."""
    if _is_messages(value):
        return pa.list_(pa.struct([]))
    if isinstance(value, list):
        return pa.list_(pa.null())
    if isinstance(value, dict):
        return pa.struct([])
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    return types.get(type(value), pa.null())


def _is_integer(schema: pa.Schema, columns: Sequence[str]) -> frozenset[str]:
    """Return the columns whose first value is an integer: only an id may be one."""
    return frozenset(name for name in columns if name in schema.names and pa.types.is_integer(schema.field(name).type))
