"""Sources of rows: arguments, stdin or a file, with their format and compression."""

import gzip
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO, cast

from millpond_cli.choices import unknown_choice
from millpond_cli.io.notes import warn
from millpond_command.cli import USAGE, CommandError
from millpond_command.extras import check_extra
from millpond_recipes.sources.records import COLUMNAR, FORMATS_BY_SUFFIX

STDIN = "-"
STDIN_DESCRIPTOR = 0
FORMATS = tuple(dict.fromkeys(FORMATS_BY_SUFFIX.values()))
FORMATS_WITH_FIELDS = tuple(name for name in FORMATS if name != "txt")
GZIP_SUFFIX = ".gz"
FILE_NAME = re.compile(r"\S+\.\w{1,8}")
MAX_NAME_CHARS = 255


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
    def files(self) -> tuple[Path | int, ...]:
        """The path or the descriptor of the file that is read; empty for arguments."""
        if self.path is not None:
            return (self.path,)
        return () if self.format == "arguments" else (STDIN_DESCRIPTOR,)

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
        raise unknown_choice("--input-format", file_format, FORMATS)
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
    if file_format in COLUMNAR:
        message = f"{file_format} cannot be read from stdin, because its index is at its end"
        raise CommandError(message, hint="write it to a file, and pass the file", exit_code=USAGE)
    return Source("stdin", file_format or "txt", lambda: nullcontext(_stdin()))


def refuse_files(texts: Sequence[str], *, option: str | None = "-i") -> None:
    """Raise an error if a text argument is the path of an existing file or folder.

    Using the path as the text, instead of the contents of the file, would silently return a wrong result.

    Args:
        texts: The texts that are arguments.
        option: The option that reads a file; None if the text can only be an argument.

    Raises:
        CommandError: A text is the path of a file.
    """
    path = next((text for text in texts if _is_path(text)), None)
    if path is not None:
        kind = "folder" if os.path.isdir(path) else "file"  # noqa: PTH112  Path raises for long texts
        message = f"{path!r} is a {kind}, but arguments are texts"
        hint = "pass the text itself"
        if option is not None and kind == "file":
            hint = f"`{option} {path}` reads the file; to use the path as the text, pipe it into stdin"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    for text in texts:
        _warn_about_name(text, option)


def _warn_about_name(text: str, option: str | None) -> None:
    """Print a warning if a text looks like the name of a file that does not exist, and a similar file exists."""
    if len(text) > MAX_NAME_CHARS or not FILE_NAME.fullmatch(text):
        return
    similar = _similar(Path(text))
    if similar is not None:
        hint = "" if option is None else f"; `{option} {similar}` reads the file"
        warn(f"{text!r} is used as text, not as a file name, but the file {similar!r} exists{hint}")


def _is_path(text: str) -> bool:
    """Return True for the path of a file, or of a folder that is written with a slash, such as ./docs."""
    names_folder = "/" in text and text.strip("/.") != "" and os.path.isdir(text)  # noqa: PTH112  as above
    return names_folder or os.path.isfile(text)  # noqa: PTH113  as above


def _file(path: Path, name: str, file_format: str | None) -> Source:
    compressed = _is_compressed(path)
    file_format = file_format or _format_of(path.with_suffix("") if compressed else path, name)
    if file_format in COLUMNAR:
        check_extra(name, "jobs", ("pyarrow",))
    if compressed and file_format in COLUMNAR:
        message = f"{name}: {file_format} compresses its own pages, and is not read from gzip"
        raise CommandError(message, hint="pass the uncompressed file", exit_code=USAGE)
    return Source(name, file_format, lambda: _open(path, name), path)


def _open(path: Path, name: str) -> BinaryIO:
    """Open a file.

    Raises:
        CommandError: It does not exist, or is a folder.
    """
    try:
        return cast("BinaryIO", gzip.open(path, "rb")) if _is_compressed(path) else path.open("rb")
    except FileNotFoundError as error:
        raise _missing(path, name) from error
    except IsADirectoryError as error:
        raise _folder(name) from error


def _is_compressed(path: Path) -> bool:
    return path.suffix.lower() == GZIP_SUFFIX


def _missing(path: Path, name: str) -> CommandError:
    """Return the error for a missing file; the hint suggests a file with a similar name."""
    close = _similar(path)
    return CommandError(f"{name}: No such file or directory", hint=f"did you mean {close!r}?" if close else "")


def _folder(name: str) -> CommandError:
    return CommandError(f"{name}: Is a directory", hint="pass one file; `millpond search QUERY FOLDER` reads folders")


def _similar(path: Path) -> str | None:
    """Return the path of a file with a similar name in the same folder."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return None
    close = get_close_matches(path.name, names, n=1, cutoff=0.7)
    return str(path.with_name(close[0])) if close else None


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        message = "stdin is closed"
        raise CommandError(message)
    return sys.stdin.buffer


def _format_of(path: Path, name: str) -> str:
    file_format = FORMATS_BY_SUFFIX.get(path.suffix.lower())
    if file_format is None and Path(name).is_dir():
        raise _folder(name)
    if file_format is None and not Path(name).exists() and _similar(Path(name)):
        raise _missing(Path(name), name)
    if file_format is None:
        message = (
            f"the suffix of {name!r} does not specify an input format. Known suffixes: "
            f"{', '.join(FORMATS_BY_SUFFIX)}; text formats also with {GZIP_SUFFIX}"
        )
        hint = f"specify the format with --input-format: {', '.join(FORMATS)}"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    return file_format
