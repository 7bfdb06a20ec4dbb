"""Sources of rows: arguments, stdin or a file, with their format and compression."""

import gzip
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from millpond_command.cli import USAGE, CommandError

STDIN = "-"
FORMATS_BY_SUFFIX = {".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
FORMATS = tuple(dict.fromkeys(FORMATS_BY_SUFFIX.values()))
FORMATS_WITH_FIELDS = ("jsonl", "csv", "tsv")
GZIP_SUFFIX = ".gz"


@dataclass(frozen=True, slots=True)
class Source:
    """A source of rows.

    Attributes:
        name: The name of the source in messages.
        format: ``arguments``, or one of ``FORMATS``.
        open: Returns a context manager that opens the source and closes its file.
        path: The path of the file; None for arguments and stdin.
    """

    name: str
    format: str
    open: Callable[[], AbstractContextManager[BinaryIO | Sequence[str]]]
    path: Path | None = None

    @property
    def has_fields(self) -> bool:
        """True if rows have named fields."""
        return self.format in FORMATS_WITH_FIELDS


def choose_source(texts: Sequence[str], path: str | None, file_format: str | None, *, noun: str = "argument") -> Source:
    """Return the source of a command's rows.

    Args:
        texts: The texts that are arguments; a single ``-`` means stdin.
        path: The value of ``--input``.
        file_format: The value of ``--input-format``; None to choose it by the suffix of the file.
        noun: The word for an argument in messages.

    Raises:
        CommandError: There is no source, more than one, or its format is unknown.
    """
    if file_format is not None and file_format not in FORMATS:
        message = f"--input-format {file_format!r}: expected one of {', '.join(FORMATS)}"
        raise CommandError(message, exit_code=USAGE)
    if path is not None and texts:
        message = "texts cannot be both arguments and read from --input"
        raise CommandError(message, hint="put the texts into the file, or remove --input", exit_code=USAGE)
    if path is not None and path != STDIN:
        return _file(Path(path), path, file_format)
    if texts and list(texts) != [STDIN]:
        if file_format is not None:
            message = "--input-format requires --input or stdin, but the texts are arguments"
            raise CommandError(message, exit_code=USAGE)
        return Source(noun, "arguments", lambda: nullcontext(texts))
    if not texts and path is None and sys.stdin is not None and sys.stdin.isatty():
        message = "there is no input"
        hint = "pass texts as arguments, use --input FILE, or pipe lines into stdin"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    return Source("stdin", file_format or "txt", lambda: nullcontext(_stdin()))


def refuse_files(texts: Sequence[str], *, option: str | None = "-i") -> None:
    """Raise an error if a text argument is the path of an existing file.

    Using the path as the text, instead of the contents of the file, would silently return a wrong result.

    Args:
        texts: The texts that are arguments.
        option: The option that reads a file; None if the text can only be an argument.

    Raises:
        CommandError: A text is the path of a file.
    """
    path = next((text for text in texts if os.path.isfile(text)), None)  # noqa: PTH113  Path raises for long texts
    if path is not None:
        message = f"{path!r} is a file, but arguments are texts"
        hint = "pass the text itself"
        if option is not None:
            hint = f"`{option} {path}` reads the file; to use the path as the text, pipe it into stdin"
        raise CommandError(message, hint=hint, exit_code=USAGE)


def _file(path: Path, name: str, file_format: str | None) -> Source:
    compressed = path.suffix.lower() == GZIP_SUFFIX
    file_format = file_format or _format_of(path.with_suffix("") if compressed else path, name)
    if compressed:
        return Source(name, file_format, lambda: cast("BinaryIO", gzip.open(path, "rb")), path)
    return Source(name, file_format, lambda: path.open("rb"), path)


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        message = "stdin is closed"
        raise CommandError(message)
    return sys.stdin.buffer


def _format_of(path: Path, name: str) -> str:
    file_format = FORMATS_BY_SUFFIX.get(path.suffix.lower())
    if file_format is None:
        message = (
            f"the suffix of {name!r} does not specify an input format. Known suffixes: "
            f"{', '.join(FORMATS_BY_SUFFIX)}, each also with {GZIP_SUFFIX}"
        )
        hint = f"specify the format with --input-format: {', '.join(FORMATS)}"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    return file_format
