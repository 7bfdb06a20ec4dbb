"""The inputs that the command line names: arguments, stdin or a file, with the format and compression of each."""

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
    """The place that rows are read from.

    Attributes:
        name: Its name in messages.
        kind: ``arguments``, or one of ``FORMATS``.
        open: Opens it; a context manager that closes the file.
        path: The file; None for arguments and stdin.
    """

    name: str
    kind: str
    open: Callable[[], AbstractContextManager[BinaryIO | Sequence[str]]]
    path: Path | None = None

    @property
    def has_fields(self) -> bool:
        """True if a row has named fields."""
        return self.kind in FORMATS_WITH_FIELDS


def choose_source(texts: Sequence[str], path: str | None, kind: str | None, *, called: str = "argument") -> Source:
    """Return the source that the command line names.

    Args:
        texts: The texts on the command line; ``-`` alone is stdin.
        path: The file of ``--input``.
        kind: The format of the input, where its name does not state it.
        called: The word for a text on the command line in messages.

    Raises:
        CommandError: It names no source, two sources, or a file in place of a text.
    """
    if kind is not None and kind not in FORMATS:
        message = f"--input-format {kind!r}: expected one of {', '.join(FORMATS)}"
        raise CommandError(message, exit_code=USAGE)
    if path is not None and texts:
        message = "texts come from the command line or from --input, not from both"
        raise CommandError(message, hint="put the texts into the file, or leave --input out", exit_code=USAGE)
    if path is not None and path != STDIN:
        return _file(Path(path), path, kind)
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


def refuse_files(texts: Sequence[str], *, option: str | None = "-i") -> None:
    """Refuse a text on the command line that is the name of an existing file.

    Computing the name in place of the contents would give a wrong result without any error.

    Args:
        texts: The texts on the command line.
        option: The option that reads a file; None if the text can only be an argument.

    Raises:
        CommandError: A text names a file.
    """
    name = next((text for text in texts if os.path.isfile(text)), None)  # noqa: PTH113  Path raises for long texts
    if name is not None:
        message = f"{name!r} is a file, and arguments are texts: the name itself would be computed"
        hint = "pass the text itself"
        if option is not None:
            hint = f"`{option} {name}` reads the file; to compute the name itself, pipe it into stdin"
        raise CommandError(message, hint=hint, exit_code=USAGE)


def _file(path: Path, name: str, kind: str | None) -> Source:
    compressed = path.suffix.lower() == GZIP_SUFFIX
    kind = kind or _format_of(path.with_suffix("") if compressed else path, name)
    if compressed:
        return Source(name, kind, lambda: cast("BinaryIO", gzip.open(path, "rb")), path)
    return Source(name, kind, lambda: path.open("rb"), path)


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        message = "stdin is closed"
        raise CommandError(message)
    return sys.stdin.buffer


def _format_of(path: Path, name: str) -> str:
    kind = FORMATS_BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        message = (
            f"the name {name!r} does not state the format of the file. Known suffixes: "
            f"{', '.join(FORMATS_BY_SUFFIX)}, each also with {GZIP_SUFFIX}"
        )
        hint = f"--input-format states it: {', '.join(FORMATS)}"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    return kind
