"""The output of results: stdout, or a file that is written whole or not at all."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from millpond.plugin.output import results
from millpond_command.cli import CommandError

STDOUT = "-"
STDOUT_NAMES = (None, STDOUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


@contextlib.contextmanager
def open_output(path: str | None) -> Iterator[BinaryIO]:
    """Open a file for results; a named one takes its name when all is written.

    Args:
        path: The file; None or ``-`` for stdout.

    Raises:
        CommandError: There is no stdout, or nothing can be written at that path.
    """
    if path is None or is_stdout(path):
        yield _stdout()
        return
    named = Path(path)
    if named.exists() and not named.is_file() and not named.is_dir():
        with named.open("wb") as file:  # a device or a pipe, such as /dev/fd/63, is written to and not replaced
            yield file
        return
    target = named.resolve()  # the end of a link, so that the link stays
    with _replacement(target, path) as file:
        yield file


@contextlib.contextmanager
def _replacement(target: Path, path: str) -> Iterator[BinaryIO]:
    if target.is_dir():
        message = f"{path} is a folder: name a file in it"
        raise CommandError(message)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise CommandError(message) from error
    part = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
        part.chmod(_mode(target))
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _mode(target: Path) -> int:
    """The permissions of the file that is replaced; those of a new file, if there is none."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)  # can only be read by setting it
    os.umask(mask)
    return 0o666 & ~mask


def is_stdout(path: str | None) -> bool:
    """True if results go to stdout."""
    return path in STDOUT_NAMES


def _stdout() -> BinaryIO:
    stdout = results()
    if stdout is None:
        message = "stdout is closed"
        raise CommandError(message, hint="--output FILE writes to a file")
    return stdout.buffer
