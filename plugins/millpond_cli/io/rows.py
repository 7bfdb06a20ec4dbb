"""Rows of texts or pairs, read one at a time from arguments, lines, JSONL, CSV or TSV."""

import csv
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from gzip import BadGzipFile
from typing import Any, BinaryIO

from millpond_cli.io.source import Source
from millpond_command.cli import USAGE, CommandError

ACTIONS = ("raise", "skip")
TEXT_KEY, ID_KEY = "text", "id"
TAB = "\t"
DELIMITERS = {"csv": ",", "tsv": TAB}
BYTE_ORDER_MARK = "\ufeff"
MISSING = object()
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Row:
    """One text or one pair of texts, or the error in their place.

    Attributes:
        index: Its place among the texts, from 0.
        place: The file and line, for error messages: ``docs.jsonl, line 7``.
        text: The text, of a pair the document; empty where ``error`` is not.
        id: The id in the input.
        error: The reason for a missing text.
        query: The query of a pair; None for a single text.
        data: The value in place of the text, where that may be any JSON.
        text_pair: The second text, for models that classify pairs; None for a single text.
    """

    index: int
    place: str
    text: str
    id: Scalar = None
    error: str = ""
    query: str | None = None
    data: object = None
    text_pair: str | None = None

    @property
    def texts(self) -> dict[str, str]:
        """The texts by their names beside a result."""
        if self.query is not None:
            return {"query": self.query, "document": self.text}
        return {"text": self.text} if self.text_pair is None else {"text": self.text, "text_pair": self.text_pair}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The fields of a row, by their content.

    Attributes:
        text: The text; of a pair the document.
        id: An id.
        needs_id: True if the id must be there, as the command line names its field.
        query: The query, where rows are pairs; None where they are single texts.
        text_option: The option that names the field of the text.
        any_data: True if the text may be any JSON value, for IO processors of plugins.
        text_pair: The second text of a row, which need not be there; None where rows are single texts.
        needs_pair: True if the second text must be there, as the command line names its field.
    """

    text: str = TEXT_KEY
    id: str = ID_KEY
    needs_id: bool = False
    query: str | None = None
    text_option: str = "--text-key"
    any_data: bool = False
    text_pair: str | None = None
    needs_pair: bool = False


@contextmanager
def open_rows(source: Source, keys: Keys) -> Iterator[Iterator[Row]]:
    """Yield the rows of a source, while it is open."""
    with source.open() as content:
        yield read_rows(source, content, keys)


def check_action(asked: str) -> bool:
    """Return True if texts that fail are passed over.

    Raises:
        CommandError: The value of ``--on-error`` is unknown.
    """
    if asked not in ACTIONS:
        message = f"--on-error {asked!r}: expected one of {', '.join(ACTIONS)}"
        raise CommandError(message, exit_code=USAGE)
    return asked == "skip"


def choose_keys(
    source: Source,
    *,
    id_key: str | None,
    text_key: str | None = None,
    text_pair_key: str | None = None,
    plain: Keys | None = None,
) -> Keys:
    """Return the fields that the command line names, else those of ``plain``.

    Raises:
        CommandError: It names one, and the source has no fields.
    """
    plain = plain or Keys()
    for option, key in ((plain.text_option, text_key), ("--text-pair-key", text_pair_key), ("--id-key", id_key)):
        if key is not None and not source.has_fields:
            message = f"{option} names a field of JSONL or a column of CSV, and the texts come as {source.kind}"
            hint = "--input-format jsonl, csv or tsv states the format of the input"
            raise CommandError(message, hint=hint, exit_code=USAGE)
    return replace(
        plain,
        text=text_key or plain.text,
        id=id_key or plain.id,
        needs_id=id_key is not None,
        text_pair=text_pair_key or plain.text_pair,
        needs_pair=text_pair_key is not None,
    )


def read_rows(source: Source, content: BinaryIO | Sequence[str], keys: Keys) -> Iterator[Row]:
    """Return the rows of a source, in order, read one at a time.

    Raises:
        CommandError: Its structure is damaged, so that later rows cannot be found.
    """
    if source.kind == "arguments":
        texts: Iterable[str] = content  # type: ignore[assignment]  # what this kind opens as
        return (_checked(Row(n, f"{source.name} {n + 1}", text)) for n, text in enumerate(texts))
    lines = _lines(content)  # type: ignore[arg-type]  # all other kinds are files
    return map(_checked, _readable(_rows_of(source, lines, keys), source.name))


def count_rows(source: Source) -> int | None:
    """The number of rows of a file, for a progress bar; None where it cannot be told without using up the input."""
    if source.path is None or not source.path.is_file():
        return None
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with source.open() as content:
            lines = _lines(content)  # type: ignore[arg-type]  # what has a path opens as a file
            if source.kind not in DELIMITERS:
                return sum(1 for line in lines if source.kind == "txt" or line.strip())
            records = csv.reader(lines, delimiter=DELIMITERS[source.kind])
            return max(0, sum(map(bool, records)) - 1)  # the header is not a row
    except (csv.Error, OSError, EOFError, zlib.error):
        return None  # reading the rows reports the error
    finally:
        csv.field_size_limit(limit)


def _rows_of(source: Source, lines: Iterator[str], keys: Keys) -> Iterator[Row]:
    if source.kind in DELIMITERS:
        return _read_csv(lines, source.name, keys, DELIMITERS[source.kind])
    return _read_text(lines, source.name, keys) if source.kind == "txt" else _read_jsonl(lines, source.name, keys)


def _readable(rows: Iterator[Row], name: str) -> Iterator[Row]:
    """The rows, with an error for a compressed file that is damaged.

    Raises:
        CommandError: The file is not gzip, or ends early.
    """
    try:
        yield from rows
    except (BadGzipFile, EOFError, zlib.error) as error:
        message = f"{name}: damaged gzip file: {error}"
        raise CommandError(message, hint="compress it again, or pass the plain file") from error


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines, with their ends; bytes that are not UTF-8 become lone surrogates, which ``_checked`` finds."""
    for number, line in enumerate(file):
        text = line.decode("utf-8", "surrogateescape")
        yield text.removeprefix(BYTE_ORDER_MARK) if number == 0 else text


def _checked(row: Row) -> Row:
    """The row, at fault if bytes in it are not UTF-8."""
    for name, text in row.texts.items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            if not "\udc80" <= text[error.start] <= "\udcff":
                continue  # written as an escape in JSON: no question of bytes, the model's checks explain it
            byte = ord(text[error.start]) - 0xDC00
            message = f"the {name} is not UTF-8: behind its first {error.start} characters stands the byte 0x{byte:02x}"
            return Row(row.index, row.place, "", row.id, message)
    return row


def _read_text(lines: Iterator[str], name: str, keys: Keys) -> Iterator[Row]:
    """One text a line; an empty line is an empty text, so that the number of a line is the place of its result."""
    for index, line in enumerate(lines):
        place, text = f"{name}, line {index + 1}", line.removesuffix("\n").removesuffix("\r")
        yield Row(index, place, text) if keys.query is None else _pair_of_line(index, place, text)


def _pair_of_line(index: int, place: str, line: str) -> Row:
    query, tab, document = line.partition(TAB)
    if not tab or TAB in document:
        return Row(
            index, place, "", error=f"expected a query, one tab and a document; there are {line.count(TAB)} tabs"
        )
    return Row(index, place, document, query=query)


def _read_jsonl(lines: Iterator[str], name: str, keys: Keys) -> Iterator[Row]:
    """One JSON value a line: an object that has the text, or the text itself. Blank lines are no rows."""
    index = 0
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _row_of_json(index, f"{name}, line {number}", line, keys)
            index += 1


def _row_of_json(index: int, place: str, line: str, keys: Keys) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Row(index, place, "", error=f"not JSON: {error}")
    if isinstance(value, str) and keys.query is None:
        return Row(index, place, value)
    if not isinstance(value, dict):
        form = "object or string" if keys.query is None else "object"
        return Row(index, place, "", error=f"expected a JSON {form}; got {type(value).__name__}")
    own = _field(value, keys.id)
    if isinstance(own, dict | list) or (keys.needs_id and own is MISSING):
        return Row(index, place, "", error=_no_field(keys.id, "id", value, "--id-key"))
    return _row_of_fields(Row(index, place, "", None if own is MISSING else own), value, keys)


def _field(value: dict[str, Any], key: str) -> Any:
    """The field of that name, else the nested one that ``outer.inner`` names; ``MISSING`` if there is neither."""
    if key in value:
        return value[key]
    found: Any = value
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return MISSING
        found = found[part]
    return found


def _row_of_fields(row: Row, value: dict[str, Any], keys: Keys) -> Row:
    text, query = _field(value, keys.text), None if keys.query is None else _field(value, keys.query)
    if keys.any_data and text is not None and text is not MISSING:
        return replace(row, data=text)
    if keys.query is not None and not isinstance(query, str):
        return replace(row, error=_no_field(keys.query, "query", value, "--query-key"))
    if not isinstance(text, str):
        what = "text" if keys.query is None else "document"
        return replace(row, error=_no_field(keys.text, what, value, keys.text_option))
    pair = None if keys.text_pair is None else _field(value, keys.text_pair)
    if pair is None or (pair is MISSING and not keys.needs_pair):
        return replace(row, text=text, query=query)
    if not isinstance(pair, str):
        return replace(row, error=_no_field(str(keys.text_pair), "second text", value, "--text-pair-key"))
    return replace(row, text=text, text_pair=pair)


def _no_field(key: str, what: str, value: dict[str, object], option: str) -> str:
    field = _field(value, key)
    if field is not MISSING:
        expected = "a string or a number" if what == "id" else "a string"
        return f"field {key!r}: expected {expected}, got {type(field).__name__}"
    return f"no field {key!r}. Available: {', '.join(value) or 'none'}. {option} names the one with the {what}"


def _read_csv(lines: Iterator[str], name: str, keys: Keys, delimiter: str) -> Iterator[Row]:
    """One text a record, in the column of its header. Blank lines are not records."""
    limit = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    try:
        header = next(reader, None)
        if header is not None:
            yield from _records(reader, name, _columns(header, name, keys))
    except csv.Error as error:
        message = f"{name}, line {reader.line_num}: not {'TSV' if delimiter == TAB else 'CSV'}: {error}"
        raise CommandError(message, hint="a quote inside a quoted field is written twice") from error
    finally:
        csv.field_size_limit(limit)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of the text, of the id, of the query of a pair and of a second text."""

    text: int
    id: int | None
    query: int | None
    text_pair: int | None


def _columns(header: list[str], name: str, keys: Keys) -> _Columns:
    wanted = (
        (keys.query, "--query-key", True),
        (keys.text, keys.text_option, True),
        (keys.id, "--id-key", keys.needs_id),
        (keys.text_pair, "--text-pair-key", keys.needs_pair),
    )
    for key, option, needed in wanted:
        if needed and key is not None and key not in header:
            message = f"{name} has no column {key!r}; its first line names: {', '.join(header)}"
            raise CommandError(message, hint=f"{option} names the one to take")
    places = {key: header.index(key) for key in header}
    query = None if keys.query is None else places[keys.query]
    return _Columns(places[keys.text], places.get(keys.id), query, places.get(keys.text_pair or ""))


def _records(reader: Any, name: str, columns: _Columns) -> Iterator[Row]:
    index, line, last = 0, reader.line_num, max(columns.text, columns.query or 0, columns.text_pair or 0)
    for record in reader:
        line, first = reader.line_num, line + 1
        if not record:
            continue
        place = f"{name}, line {first}"
        own = record[columns.id] if columns.id is not None and columns.id < len(record) else None
        if last < len(record):
            query = None if columns.query is None else record[columns.query]
            pair = None if columns.text_pair is None else record[columns.text_pair]
            yield Row(index, place, record[columns.text], own, query=query, text_pair=pair)
        else:
            what = "text" if columns.query is None else "pair"
            error = f"the record has {len(record)} fields, and the {what} is in number {last + 1}"
            yield Row(index, place, "", own, error)
        index += 1
