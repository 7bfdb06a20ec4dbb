"""Rows of texts or pairs, read one at a time from arguments, lines, JSONL, CSV, TSV, parquet or Arrow."""

import math
import zlib
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, time
from decimal import Decimal
from gzip import BadGzipFile
from pathlib import Path
from typing import Any, BinaryIO

from millpond.types.errors import first_names
from millpond_cli.choices import spelled_option, unknown_choice
from millpond_cli.io.source import Source
from millpond_command.cli import USAGE, CommandError
from millpond_recipes.errors import InputError
from millpond_recipes.sources.records import COLUMNAR, DELIMITERS, Record, invalid_byte, parse_json, read_records

ACTIONS = ("raise", "skip")
TAB = "\t"
TYPES_WITHOUT_JSON = (date, time, Decimal, bytes)  # of ids
MISSING = object()
MAX_LISTED_NAMES = 50  # of columns or fields, in messages
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Row:
    """One text or one pair of texts, or an error.

    Attributes:
        index: The index of the row in the input, from 0.
        location: The file and line, for error messages: ``docs.jsonl, line 7``.
        text: The text, or the document of a pair; empty if there is an error.
        id: The id in the input.
        error: The reason for a missing text, or "".
        query: The query of a pair; None for a single text.
        data: A JSON value that is used instead of the text, with ``Keys.any_data`` or ``Keys.is_whole``.
        text_pair: The second text, for models that classify pairs; None for a single text.
    """

    index: int
    location: str
    text: str
    id: Scalar = None
    error: str = ""
    query: str | None = None
    data: object = None
    text_pair: str | None = None

    @property
    def texts(self) -> dict[str, str]:
        """The texts, by their names in the output."""
        if self.query is not None:
            return {"query": self.query, "document": self.text}
        return {"text": self.text} if self.text_pair is None else {"text": self.text, "text_pair": self.text_pair}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The names of the fields of a row.

    Attributes:
        text: The field of the text, or of the document of a pair.
        id: The field of the id.
        needs_id: True if the id is required, because an option names its field.
        query: The field of the query; None if rows are single texts.
        text_option: The option that names the field of the text.
        any_data: True if the field of the text may contain any JSON value, for IO processor plugins.
        is_whole: True if the whole row is one object, without its id if an option names the field, instead of a text.
        text_pair: The field of the second text; None if rows are single texts.
        needs_pair: True if the second text is required, because an option names its field.
    """

    text: str = "text"
    id: str = "id"
    needs_id: bool = False
    query: str | None = None
    text_option: str = "--text-key"
    any_data: bool = False
    is_whole: bool = False
    text_pair: str | None = None
    needs_pair: bool = False


def open_rows(source: Source, keys: Keys) -> Generator[Row]:
    """Open a source and yield its rows."""
    with source.open() as content:
        yield from read_rows(source, content, keys)


def check_action(action: str) -> bool:
    """Check the value of ``--on-error``, and return True if texts that fail are skipped.

    Raises:
        CommandError: The value is unknown.
    """
    if action not in ACTIONS:
        raise unknown_choice("--on-error", action, ACTIONS)
    return action == "skip"


def choose_keys(
    source: Source,
    *,
    id_key: str | None,
    text_key: str | None = None,
    text_pair_key: str | None = None,
    default_keys: Keys | None = None,
) -> Keys:
    """Return the fields that options name; the other fields are those of ``default_keys``.

    Raises:
        CommandError: An option names a field, but the source has no fields.
    """
    keys = default_keys or Keys()
    for option, key in ((keys.text_option, text_key), ("--text-pair-key", text_pair_key), ("--id-key", id_key)):
        if key is not None and not source.has_fields:
            raise no_fields(option, source)
    return replace(
        keys,
        text=text_key or keys.text,
        is_whole=keys.is_whole and text_key is None,
        any_data=keys.any_data or keys.is_whole,
        id=id_key or keys.id,
        needs_id=id_key is not None,
        text_pair=text_pair_key or keys.text_pair,
        needs_pair=text_pair_key is not None,
    )


def no_fields(option: str, source: Source) -> CommandError:
    """Return the error for an option that names a field, used with a source without fields."""
    message = f"{spelled_option(option)} requires JSONL, CSV, TSV, parquet or Arrow, but the input is {source.format}"
    hint = "specify the format with --input-format jsonl, csv or tsv"
    return CommandError(message, hint=hint, exit_code=USAGE)


def read_rows(source: Source, content: BinaryIO | Sequence[str], keys: Keys) -> Iterator[Row]:
    """Return an iterator of the rows of a source, which reads one row at a time.

    Raises:
        CommandError: The structure of the file is damaged, so that later rows cannot be found.
    """
    if source.format == "arguments":
        texts: Iterable[str] = content  # type: ignore[assignment]  # a sequence for this format
        return (_checked(Row(n, f"{source.name} {n + 1}", text)) for n, text in enumerate(texts))
    if source.format in COLUMNAR:
        return map(_checked, _read_columns(source, keys))
    file: BinaryIO = content  # type: ignore[assignment]  # a file for all other formats
    return map(_checked, _readable(_read_text(source, file, keys), source.name))


def count_rows(source: Source) -> int | None:
    """Return the number of rows of a file, for a progress bar; None if counting them would consume the input."""
    if source.path is None or not source.path.is_file():
        return None
    try:
        if source.format in COLUMNAR:
            from millpond_recipes.sources.arrow import ArrowFile  # noqa: PLC0415  imports pyarrow

            return ArrowFile(source.path, (), source.format).count()
        with source.open() as content:
            records = read_records(content, source.name, source.format)  # type: ignore[arg-type]  # it opens as a file
            return max(0, sum(1 for _ in records) - (source.format in DELIMITERS))  # the header is not a row
    except (InputError, OSError, EOFError, zlib.error):
        return None  # reading the rows reports the error


def _read_columns(source: Source, keys: Keys) -> Iterator[Row]:
    """Yield the rows of a file of columns; ``a.b`` is the field b of the column a, which contains objects."""
    from millpond_recipes.sources.arrow import ArrowFile  # noqa: PLC0415  imports pyarrow

    path = Path(source.path or source.name)
    try:
        available = ArrowFile(path, (), source.format).schema().names
        columns = _find_columns(available, source.name, keys, has_nested=True)
        blocks = ArrowFile(path, columns, source.format).blocks()
        rows = (values for block in blocks for values in zip(*block.columns.values(), strict=True))
        for index, values in enumerate(rows):
            fields = dict(zip(columns, values, strict=True))
            if isinstance(fields.get(keys.id), TYPES_WITHOUT_JSON):
                fields[keys.id] = str(fields[keys.id])
            yield row_of_object(index, f"{source.name}, row {index} (from 0)", fields, keys)
    except InputError as error:
        message = f"{source.name}: not a {source.format} file, or damaged: {error.__cause__}"
        raise CommandError(message) from error


def _read_text(source: Source, file: BinaryIO, keys: Keys) -> Iterator[Row]:
    """Yield a row per record. In text, an empty line is an empty text, so that line numbers and indices agree."""
    records = read_records(file, source.name, source.format)
    if source.format in DELIMITERS:
        yield from _read_csv(source, records, keys)
        return
    read = _row_of_json if source.format == "jsonl" else _row_of_line
    for index, record in enumerate(records):
        yield read(index, f"{source.name}, line {record.line}", record.content, keys)


def _readable(rows: Iterator[Row], name: str) -> Iterator[Row]:
    """Yield the rows, and report a damaged gzip file.

    Raises:
        CommandError: The file is not in gzip format, or is truncated.
    """
    try:
        yield from rows
    except (BadGzipFile, EOFError, zlib.error) as error:
        message = f"{name}: damaged gzip file: {error}"
        raise CommandError(message, hint="compress it again, or pass the uncompressed file") from error


def _checked(row: Row) -> Row:
    """Return the row, or a row with an error if its texts are not UTF-8."""
    for name, text in row.texts.items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            byte = invalid_byte(text, error.start)
            if byte is None:
                continue  # LLM reports it
            message = f"the {name} is not UTF-8: invalid byte 0x{byte:02x} after {error.start} characters"
            return Row(row.index, row.location, "", row.id, message)
    return row


def _row_of_line(index: int, location: str, line: str, keys: Keys) -> Row:
    if keys.query is None:
        return Row(index, location, line)
    query, tab, document = line.partition(TAB)
    if not tab or TAB in document:
        message = f"expected a query, one tab and a document; got {line.count(TAB)} tabs"
        return Row(index, location, "", error=message)
    return Row(index, location, document, query=query)


def _row_of_json(index: int, location: str, line: str, keys: Keys) -> Row:
    try:
        value = parse_json(line)
    except ValueError as error:
        return Row(index, location, "", error=f"not JSON: {error}")
    if isinstance(value, str) and keys.query is None:
        return Row(index, location, value)
    if not isinstance(value, dict):
        expected = "object or string" if keys.query is None else "object"
        return Row(index, location, "", error=f"expected a JSON {expected}; got {type(value).__name__}")
    return row_of_object(index, location, value, keys)


def row_of_object(index: int, location: str, value: dict[str, Any], keys: Keys) -> Row:
    """Return the row of an object with named fields, or an error if a field is missing or has the wrong type."""
    row_id = _field(value, keys.id)
    if isinstance(row_id, dict | list) or _is_infinite(row_id) or (keys.needs_id and row_id is MISSING):
        return Row(index, location, "", error=_field_error(keys.id, "id", value, "--id-key"))
    row = Row(index, location, "", None if row_id is MISSING else row_id)
    if keys.is_whole:
        return replace(row, data={name: it for name, it in value.items() if not keys.needs_id or name != keys.id})
    return _row_of_fields(row, value, keys)


def _is_infinite(value: object) -> bool:
    """Return True for NaN and infinity, which JSON cannot contain."""
    return isinstance(value, float) and not math.isfinite(value)


def _field(value: dict[str, Any], key: str) -> Any:
    """Return the field with this name, or the nested field for a key like ``outer.inner``; else ``MISSING``."""
    if key in value:
        return value[key]
    nested: Any = value
    for part in key.split("."):
        if not isinstance(nested, dict) or part not in nested:
            return MISSING
        nested = nested[part]
    return nested


def _row_of_fields(row: Row, value: dict[str, Any], keys: Keys) -> Row:
    text, query = _field(value, keys.text), None if keys.query is None else _field(value, keys.query)
    if keys.any_data and text is not None and text is not MISSING:
        return replace(row, data=text)
    if keys.query is not None and not isinstance(query, str):
        return replace(row, error=_field_error(keys.query, "query", value, "--query-key"))
    if not isinstance(text, str):
        role = "text" if keys.query is None else "document"
        return replace(row, error=_field_error(keys.text, role, value, keys.text_option))
    pair = None if keys.text_pair is None else _field(value, keys.text_pair)
    if pair is None or (pair is MISSING and not keys.needs_pair):
        return replace(row, text=text, query=query)
    if not isinstance(pair, str):
        return replace(row, error=_field_error(str(keys.text_pair), "second text", value, "--text-pair-key"))
    return replace(row, text=text, text_pair=pair)


def _field_error(key: str, role: str, value: dict[str, object], option: str) -> str:
    """Return the error for a field that is missing or has the wrong type."""
    field = _field(value, key)
    if field is not MISSING:
        expected = "a string or a finite number" if role == "id" else "a string"
        if field is None:
            return f"the field {key!r} is null; expected {expected}"
        value_or_type = field if _is_infinite(field) else type(field).__name__
        return f"field {key!r}: expected {expected}, got {value_or_type}"
    return f"no field {key!r}. Available: {_listed(value)}. Name the field of the {role} with {spelled_option(option)}"


def _listed(names: Collection[str]) -> str:
    """Return the first names, for a message."""
    return first_names(names, MAX_LISTED_NAMES) or "none"


def _read_csv(source: Source, records: Iterator[Record], keys: Keys) -> Iterator[Row]:
    """Yield a row per record; the first record is the header. Each cell is a text."""
    records = (_undamaged(record, source) for record in records)
    header: list[str] | None = next((record.content for record in records), None)
    if header is None:
        return
    columns = _find_columns(header, source.name, keys, origin=", from its first line")
    last = max(map(header.index, [name for name in columns if name != keys.id]), default=-1)
    role = "text" if keys.query is None else "pair"
    keys = replace(keys, any_data=False)
    for index, record in enumerate(records):
        fields = dict(zip(header, record.content, strict=False))
        if keys.is_whole:  # CSV has no other way to leave a field out
            fields = {name: cell for name, cell in fields.items() if cell}
        row = row_of_object(index, f"{source.name}, line {record.line}", fields, keys)
        if last >= len(record.content):
            error = f"the record has {len(record.content)} fields, but the {role} requires field {last + 1}"
            row = replace(row, text="", error=error)
        yield row


def _undamaged(record: Record, source: Source) -> Record:
    if record.error:
        message = f"{source.name}, line {record.line}: not {source.format.upper()}: {record.error}"
        raise CommandError(message, hint="inside a quoted field, double each quote")
    return record


def _find_columns(
    available: Sequence[str], name: str, keys: Keys, *, has_nested: bool = False, origin: str = ""
) -> list[str]:
    """Return the names of the columns that contain the fields of a row.

    Args:
        available: The names of all columns.
        name: The name of the file.
        keys: The fields.
        has_nested: True if a column may contain objects with the fields.
        origin: The place where the names of the columns are, for messages.

    Raises:
        CommandError: A column is missing, or occurs twice.
    """
    columns: list[str] = [*available] if keys.is_whole else []
    for key, option, required in (
        (keys.query, "--query-key", True),
        (keys.text, keys.text_option, not keys.is_whole),
        (keys.id, "--id-key", keys.needs_id),
        (keys.text_pair, "--text-pair-key", keys.needs_pair),
    ):
        column = key.partition(".")[0] if key is not None and has_nested and key not in available else key
        if column is not None and column in available:
            columns.append(column)
        elif required and key is not None:
            message = f"{name} has no column {key!r}. Available{origin}: {_listed(available)}"
            raise CommandError(message, hint=f"name the column with {spelled_option(option, names_column=True)}")
        if (count := available.count(column)) > 1:
            message = f"{name} has {count} columns {column!r}"
            raise CommandError(message, hint="rename or remove all but one of them")
    return list(dict.fromkeys(columns))
