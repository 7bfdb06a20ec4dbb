"""Where texts come from: arguments, lines, JSONL or CSV, read one row at a time. A row at fault costs no other row."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from millpond.cli import USAGE, CommandError

STDIN = "-"
KINDS = {".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
TEXT_KEY, ID_KEY = "text", "id"
BYTE_ORDER_MARK = "\ufeff"
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Row:
    """One text, or why there is none.

    Attributes:
        index: Its place among the texts, from 0.
        place: Where it stands, for error messages: ``docs.jsonl, line 7``.
        text: The text; empty where ``error`` is not.
        id: What its input calls it.
        error: Why there is no text.
    """

    index: int
    place: str
    text: str
    id: Scalar = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Which fields of a row hold the text and its id; an id that was asked for by name must be there."""

    text: str = TEXT_KEY
    id: str = ID_KEY
    needs_id: bool = False


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


def choose_source(texts: Sequence[str], path: str | None, kind: str | None) -> Source:
    """What the arguments name.

    Args:
        texts: The texts on the command line; ``-`` alone is stdin.
        path: The file of ``--input``.
        kind: The format of the input, where its name does not say it.

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
        return Source("argument", "arguments", lambda: nullcontext(texts))
    if not texts and path is None and sys.stdin is not None and sys.stdin.isatty():
        message = "there is nothing to read"
        hint = "pass texts, name a file by --input FILE, or pipe lines into stdin"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    return Source("stdin", kind or "txt", lambda: nullcontext(_stdin()))


def read_rows(source: Source, content: BinaryIO | Sequence[str], keys: Keys) -> Iterator[Row]:
    """The rows of a source, in order, as they are asked for.

    Raises:
        CommandError: Its structure is broken, so that the rows behind cannot be told.
    """
    if source.kind == "arguments":
        texts: Iterable[str] = content  # type: ignore[assignment]  # what this kind opens as
        return (_checked(Row(n, f"argument {n + 1}", text)) for n, text in enumerate(texts))
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
    try:
        row.text.encode()
    except UnicodeEncodeError as error:
        if not "\udc80" <= row.text[error.start] <= "\udcff":
            return row  # written as an escape in JSON: no question of bytes, the model's checks explain it
        byte = ord(row.text[error.start]) - 0xDC00
        message = f"the text is not UTF-8: behind its first {error.start} characters stands the byte 0x{byte:02x}"
        return Row(row.index, row.place, "", row.id, message)
    return row


def _read_text(lines: Iterator[str], name: str, _keys: Keys) -> Iterator[Row]:
    """One text a line; an empty line is an empty text, so that the number of a line is the place of its vector."""
    for index, line in enumerate(lines):
        yield Row(index, f"{name}, line {index + 1}", line.removesuffix("\n").removesuffix("\r"))


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
    if isinstance(value, str):
        return Row(index, place, value)
    if not isinstance(value, dict):
        return Row(index, place, "", error=f"expected a JSON object or string; got {type(value).__name__}")
    own = value.get(keys.id)
    if isinstance(own, dict | list) or (keys.needs_id and keys.id not in value):
        return Row(index, place, "", error=_no_field(keys.id, "id", value, "--id-key"))
    text = value.get(keys.text)
    if not isinstance(text, str):
        return Row(index, place, "", own, _no_field(keys.text, "text", value, "--text-key"))
    return Row(index, place, text, own)


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


def _columns(header: list[str], name: str, keys: Keys) -> tuple[int, int | None]:
    """Where the text stands in a record, and where the id."""
    for key, option, needed in ((keys.text, "--text-key", True), (keys.id, "--id-key", keys.needs_id)):
        if needed and key not in header:
            message = f"{name} has no column {key!r}; its first line names: {', '.join(header)}"
            raise CommandError(message, hint=f"{option} names the one to take")
    return header.index(keys.text), header.index(keys.id) if keys.id in header else None


def _records(reader: Any, name: str, columns: tuple[int, int | None]) -> Iterator[Row]:
    text_column, id_column = columns
    index, line = 0, reader.line_num
    for record in reader:
        line, first = reader.line_num, line + 1
        if not record:
            continue
        place = f"{name}, line {first}"
        own = record[id_column] if id_column is not None and id_column < len(record) else None
        if text_column < len(record):
            yield Row(index, place, record[text_column], own)
        else:
            error = f"the record has {len(record)} fields, and the text is in number {text_column + 1}"
            yield Row(index, place, "", own, error)
        index += 1
