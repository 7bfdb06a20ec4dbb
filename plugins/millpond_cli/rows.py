"""Where texts come from: arguments, lines, JSONL or CSV, read one row at a time. A row at fault costs no other row."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from millpond.cli import USAGE, CommandError

STDIN = "-"
KINDS = {".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
ACTIONS = ("raise", "skip")
TEXT_KEY, ID_KEY = "text", "id"
TAB = "\t"
BYTE_ORDER_MARK = "\ufeff"
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Row:
    """One text, or one pair of them, or why there is none.

    Attributes:
        index: Its place among the texts, from 0.
        place: Where it stands, for error messages: ``docs.jsonl, line 7``.
        text: The text, of a pair the document; empty where ``error`` is not.
        id: What its input calls it.
        error: Why there is no text.
        query: The query of a pair; None for a single text.
        data: What stands in the place of the text, where that may be anything.
    """

    index: int
    place: str
    text: str
    id: Scalar = None
    error: str = ""
    query: str | None = None
    data: object = None

    @property
    def texts(self) -> dict[str, str]:
        """The texts, by what they are called beside a result."""
        return {"text": self.text} if self.query is None else {"query": self.query, "document": self.text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Which fields of a row hold what.

    Attributes:
        text: The text; of a pair the document.
        id: An id.
        needs_id: Whether the id must be there, as one that was asked for by name must.
        query: The query, where rows are pairs; None where they are single texts.
        text_option: The option that names the field of the text.
        any_data: Whether the text may be any JSON value, for IO processors of a plugin's.
    """

    text: str = TEXT_KEY
    id: str = ID_KEY
    needs_id: bool = False
    query: str | None = None
    text_option: str = "--text-key"
    any_data: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """Where texts come from.

    Attributes:
        name: What messages call it.
        kind: ``arguments``, ``txt``, ``jsonl`` or ``csv``.
        open: Gives its rows; a context manager that closes the file.
    """

    name: str
    kind: str
    open: Callable[[], AbstractContextManager[BinaryIO | Sequence[str]]]

    @property
    def has_fields(self) -> bool:
        """Whether its rows have more than a text."""
        return self.kind in ("jsonl", "csv")


def choose_source(texts: Sequence[str], path: str | None, kind: str | None, *, called: str = "argument") -> Source:
    """What the arguments name.

    Args:
        texts: The texts on the command line; ``-`` alone is stdin.
        path: The file of ``--input``.
        kind: The format of the input, where its name does not say it.
        called: What messages call a text on the command line.

    Raises:
        CommandError: They name nothing, or two things.
    """
    if kind is not None and kind not in KINDS.values():
        message = f"--input-format {kind!r}: expected one of {', '.join(dict.fromkeys(KINDS.values()))}"
        raise CommandError(message, exit_code=USAGE)
    if path is not None and texts:
        message = "texts come from the command line or from --input, not from both"
        raise CommandError(message, hint="put the texts into the file, or leave --input out", exit_code=USAGE)
    if path is not None and path != STDIN:
        return Source(path, kind or _kind_of(path), lambda: Path(path).open("rb"))
    if texts and list(texts) != [STDIN]:
        if kind is not None:
            message = "--input-format is that of a file or of stdin, and the texts are on the command line"
            raise CommandError(message, exit_code=USAGE)
        return Source(called, "arguments", lambda: nullcontext(texts))
    if not texts and path is None and sys.stdin is not None and sys.stdin.isatty():
        message = "there is nothing to read"
        hint = "pass texts, name a file by --input FILE, or pipe lines into stdin"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    return Source("stdin", kind or "txt", lambda: nullcontext(_stdin()))


@contextmanager
def open_rows(source: Source, keys: Keys) -> Iterator[Iterator[Row]]:
    """The rows of a source, while it is open."""
    with source.open() as content:
        yield read_rows(source, content, keys)


def check_action(asked: str) -> bool:
    """Whether texts that fail are passed over.

    Raises:
        CommandError: ``--on-error`` says neither that nor the contrary.
    """
    if asked not in ACTIONS:
        message = f"--on-error {asked!r}: expected one of {', '.join(ACTIONS)}"
        raise CommandError(message, exit_code=USAGE)
    return asked == "skip"


def choose_keys(source: Source, *, id_key: str | None, text_key: str | None = None, plain: Keys | None = None) -> Keys:
    """The fields that the command line names, else those of ``plain``.

    Raises:
        CommandError: It names one, and the source has no fields.
    """
    plain = plain or Keys()
    for option, key in ((plain.text_option, text_key), ("--id-key", id_key)):
        if key is not None and not source.has_fields:
            message = f"{option} names a field of JSONL or a column of CSV, and the texts come as {source.kind}"
            raise CommandError(message, hint="--input-format jsonl or csv says what is in the input", exit_code=USAGE)
    return replace(plain, text=text_key or plain.text, id=id_key or plain.id, needs_id=id_key is not None)


def read_rows(source: Source, content: BinaryIO | Sequence[str], keys: Keys) -> Iterator[Row]:
    """The rows of a source, in order, as they are asked for.

    Raises:
        CommandError: Its structure is broken, so that the rows behind cannot be told.
    """
    if source.kind == "arguments":
        texts: Iterable[str] = content  # type: ignore[assignment]  # what this kind opens as
        return (_checked(Row(n, f"{source.name} {n + 1}", text)) for n, text in enumerate(texts))
    lines = _lines(content)  # type: ignore[arg-type]  # all other kinds are files
    readers = {"txt": _read_text, "jsonl": _read_jsonl, "csv": _read_csv}
    return map(_checked, readers[source.kind](lines, source.name, keys))


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        message = "stdin is closed"
        raise CommandError(message)
    return sys.stdin.buffer


def _kind_of(path: str) -> str:
    kind = KINDS.get(Path(path).suffix.lower())
    if kind is None:
        message = f"the name {path!r} does not say what is in the file; known are {', '.join(KINDS)}"
        hint = "say it by --input-format txt, jsonl or csv"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    return kind


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
    own = value.get(keys.id)
    if isinstance(own, dict | list) or (keys.needs_id and keys.id not in value):
        return Row(index, place, "", error=_no_field(keys.id, "id", value, "--id-key"))
    return _row_of_fields(Row(index, place, "", own), value, keys)


def _row_of_fields(row: Row, value: dict[str, Any], keys: Keys) -> Row:
    text, query = value.get(keys.text), None if keys.query is None else value.get(keys.query)
    if keys.any_data and text is not None:
        return replace(row, data=text)
    if keys.query is not None and not isinstance(query, str):
        return replace(row, error=_no_field(keys.query, "query", value, "--query-key"))
    if not isinstance(text, str):
        what = "text" if keys.query is None else "document"
        return replace(row, error=_no_field(keys.text, what, value, keys.text_option))
    return replace(row, text=text, query=query)


def _no_field(key: str, what: str, value: dict[str, object], option: str) -> str:
    if key in value:
        return f"the field {key!r} is no {what}, but {type(value[key]).__name__}"
    return f"there is no field {key!r}; there are: {', '.join(value) or 'none'}. {option} names the one with the {what}"


def _read_csv(lines: Iterator[str], name: str, keys: Keys) -> Iterator[Row]:
    """One text a record, in the column of its header. Blank lines are no records."""
    limit = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, None)
        if header is not None:
            yield from _records(reader, name, _columns(header, name, keys))
    except csv.Error as error:
        message = f"{name}, line {reader.line_num}: not CSV: {error}"
        raise CommandError(message, hint="a quote inside a quoted field is written twice") from error
    finally:
        csv.field_size_limit(limit)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in a record the text stands, where the id, and where the query of a pair."""

    text: int
    id: int | None
    query: int | None


def _columns(header: list[str], name: str, keys: Keys) -> _Columns:
    wanted = (
        (keys.query, "--query-key", True),
        (keys.text, keys.text_option, True),
        (keys.id, "--id-key", keys.needs_id),
    )
    for key, option, needed in wanted:
        if needed and key is not None and key not in header:
            message = f"{name} has no column {key!r}; its first line names: {', '.join(header)}"
            raise CommandError(message, hint=f"{option} names the one to take")
    places = {key: header.index(key) for key in (keys.text, keys.id, keys.query) if key in header}
    return _Columns(places[keys.text], places.get(keys.id), None if keys.query is None else places[keys.query])


def _records(reader: Any, name: str, columns: _Columns) -> Iterator[Row]:
    index, line, last = 0, reader.line_num, max(columns.text, columns.query or 0)
    for record in reader:
        line, first = reader.line_num, line + 1
        if not record:
            continue
        place = f"{name}, line {first}"
        own = record[columns.id] if columns.id is not None and columns.id < len(record) else None
        if last < len(record):
            query = None if columns.query is None else record[columns.query]
            yield Row(index, place, record[columns.text], own, query=query)
        else:
            what = "text" if columns.query is None else "pair"
            error = f"the record has {len(record)} fields, and the {what} is in number {last + 1}"
            yield Row(index, place, "", own, error)
        index += 1
