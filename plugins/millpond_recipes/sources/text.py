"""Text files as inputs: JSONL, CSV and TSV, plain or compressed, one record after the other."""

import io
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from millpond_recipes.errors import InputError
from millpond_recipes.rows import Place, Rows
from millpond_recipes.sources.records import DELIMITERS, Record, invalid_byte, parse_json, read_records

BUFFER_BYTES = 1 << 20
BLOCK_BYTES = 1 << 18  # of records that become rows at a time
SCHEMA_RECORDS = 1000  # in which the types of columns are looked up: the first ones may be null or damaged
MAX_INTEGER = 2**63 - 1
Fields = dict[str, Any]


class TextFile:
    """A file of records in text.

    Args:
        path: The file.
        columns: The columns to read.
        file_format: "jsonl", "csv" or "tsv".
        compression: "gzip" or "zstd"; None for none.
    """

    def __init__(self, path: Path, columns: Sequence[str], file_format: str, compression: str | None = None) -> None:
        self._path, self._columns, self._format, self._compression = path, tuple(columns), file_format, compression

    def schema(self) -> pa.Schema:
        """Return the columns of the first records that can be read, and the types of those that the recipe reads."""
        if self._format in DELIMITERS:  # all cells are texts; a file without a header has no rows
            kind, names = (pa.string(), self._names) if self._names else (pa.null(), self._columns)
            return pa.schema([(name, kind) for name in names])
        types: dict[str, pa.DataType] = {}
        for fields in islice(self._readable(), SCHEMA_RECORDS):
            for name, value in fields.items():
                if types.get(name, pa.null()) == pa.null():
                    types[name] = _arrow_type(value) if name in self._columns else pa.null()
            if all(types.get(name, pa.null()) != pa.null() for name in self._columns):
                break
        return pa.schema((types or dict.fromkeys(self._columns, pa.null())).items())

    def places(self) -> Iterator[Place]:
        """Yield the places of all rows: bytes; in a compressed file, row numbers."""
        for number, record in enumerate(self._records()):
            yield Place(0, number, record.size) if self._compression else Place(record.position, 0, record.size)

    def blocks(self, position: int = 0, offset: int = 0) -> Generator[Rows]:
        """Yield the rows from a place, some at a time. A record that is damaged becomes a row with nulls and an error.

        Raises:
            InputError: If the file cannot be read.
        """
        columns, errors, size = self._no_values(), dict[int, str](), 0
        for record in islice(self._records(position), offset, None):
            self._append(record, columns, errors)
            size += record.size
            if size >= BLOCK_BYTES:
                yield Rows(columns, errors)
                columns, errors, size = self._no_values(), {}, 0
        if size:
            yield Rows(columns, errors)

    def _no_values(self) -> dict[str, list[Any]]:
        return {name: [] for name in self._columns}

    def _append(self, record: Record, columns: dict[str, list[Any]], errors: dict[int, str]) -> None:
        values: dict[str, Any] = dict.fromkeys(columns)
        try:
            fields = self._fields(record)
            for name in columns:  # the id is first: it is kept if a later one is invalid
                values[name] = self._value(fields, name)
        except ValueError as error:
            errors[len(columns[self._columns[0]])] = f"the row cannot be read: {error}"
        for name, column in columns.items():
            column.append(values[name])

    @cached_property
    def _names(self) -> list[str]:
        """The names of the columns of CSV, from its header."""
        with self._opened() as file:
            header = next(read_records(file, str(self._path), self._format), None)
        if header is not None and header.error:
            message = f"cannot read the header of {self._path}: {header.error}"
            raise InputError(message)
        return [] if header is None else header.content

    @cached_property
    def _integers(self) -> frozenset[str]:
        """The columns whose first value is an integer: only an id may be one."""
        schema = self.schema()
        return frozenset(
            it for it in self._columns if it in schema.names and pa.types.is_integer(schema.field(it).type)
        )

    def _records(self, position: int = 0) -> Iterator[Record]:
        """Yield the records from a position, without the header of CSV."""
        with self._opened() as file:
            if position:
                file.seek(position)
            records = read_records(file, str(self._path), self._format, position)
            yield from islice(records, int(self._format in DELIMITERS and position == 0), None)

    def _readable(self) -> Iterator[Fields]:
        for record in self._records():
            try:
                yield self._fields(record)
            except ValueError:  # a damaged row fails when it is read, with its number
                continue

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Open the file as bytes, decompressed.

        Raises:
            InputError: If it cannot be read.
        """
        try:
            with self._path.open("rb", buffering=BUFFER_BYTES) as file:
                if self._compression is None:
                    yield file
                    return
                with pa.CompressedInputStream(pa.PythonFile(file), self._compression) as inner:
                    yield io.BufferedReader(inner, BUFFER_BYTES)
        except OSError as error:
            message = f"cannot read {self._path}: {error}"
            raise InputError(message) from error

    def _fields(self, record: Record) -> Fields:
        """Return the fields of a record by their names.

        Raises:
            ValueError: If it is damaged.
        """
        if self._format not in DELIMITERS:
            value = parse_json(record.content)
            if isinstance(value, dict):
                return value
            message = f"expected a JSON object, got {type(value).__name__}"
            raise ValueError(message)
        if record.error:
            raise ValueError(record.error)
        if len(record.content) != len(self._names):
            message = f"expected {len(self._names)} cells, got {len(record.content)}"
            raise ValueError(message)
        return dict(zip(self._names, record.content, strict=True))

    def _value(self, fields: Fields, name: str) -> Any:
        if name not in fields:
            message = f"it has no {name!r}"
            raise ValueError(message)
        value = fields[name]
        expected = int if name in self._integers else str
        if type(value) is expected:
            _check_storable(name, value)
        may_be_object = name == self._columns[-1]  # not an id
        if value is None or type(value) is expected or _is_messages(value) or (may_be_object and type(value) is dict):
            return value
        if expected is str and isinstance(value, int | float) and not isinstance(value, bool):
            message = f"{name!r} is a number; expected text"
        else:
            message = f"{name!r} is {type(value).__name__}; expected {'an integer' if expected is int else 'text'}"
        raise ValueError(message)


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
            if invalid_byte(value, error.start) is not None:
                value.encode("utf-8", "surrogateescape").decode()  # raises ValueError
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
