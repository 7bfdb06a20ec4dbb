"""The output of results: stdout, or a file that is written completely or not at all."""

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
    """Open the output for writing. A file gets its name after everything is written.

    Args:
        path: The path of the file; None or ``-`` for stdout.

    Raises:
        CommandError: Stdout is closed, or the file cannot be written.
    """
    if path is None or is_stdout(path):
        yield _stdout()
        return
    target = Path(path)
    if target.exists() and not target.is_file() and not target.is_dir():
        with target.open("wb") as file:  # a device or a pipe, such as /dev/fd/63, must not be replaced
            yield file
        return
    with _replacement(target.resolve(), path) as file:  # a link stays; the file that it points to is replaced
        yield file


@contextlib.contextmanager
def _replacement(target: Path, path: str) -> Iterator[BinaryIO]:
    if target.is_dir():
        message = f"{path} is a folder; specify a file in it"
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
    """Return the permissions of the existing file, or the permissions of a new file."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)  # the mask can only be read by setting it
    os.umask(mask)
    return 0o666 & ~mask


def is_stdout(path: str | None) -> bool:
    """Return True if the path means stdout."""
    return path in STDOUT_NAMES


def _stdout() -> BinaryIO:
    stdout = results()
    if stdout is None:
        message = "stdout is closed"
        raise CommandError(message, hint="write to a file with --output FILE")
    return stdout.buffer
