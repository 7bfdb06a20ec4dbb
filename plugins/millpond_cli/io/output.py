"""The output of results: stdout, or a file that is written completely or not at all."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from millpond.plugin.output import results
from millpond_command.cli import CommandError

STDOUT = "-"
STDOUT_DESCRIPTOR = 1
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
    with _replacement(_resolved(path), path) as file:
        yield file


def refuse_input(path: str | None, inputs: Iterable[Path | int]) -> None:
    """Refuse an output that is also an input: the texts would be lost, or results would be read as texts.

    Args:
        path: The path of the output; None or ``-`` for stdout.
        inputs: The paths or descriptors of the inputs.

    Raises:
        CommandError: The output is a regular file, and one of the inputs.
    """
    output = _status(STDOUT_DESCRIPTOR if path is None or is_stdout(path) else Path(path))
    if output is None:
        return
    if any(status is not None and os.path.samestat(output, status) for status in map(_status, inputs)):
        message = f"{'stdout' if path is None or is_stdout(path) else path} is also the input"
        raise CommandError(message, hint="write to a different file with --output FILE")


def _status(file: Path | int) -> os.stat_result | None:
    """Return the status of a regular file; None for others, such as terminals, and missing files."""
    try:
        status = os.stat(file)  # noqa: PTH116  also of descriptors
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _resolved(path: str) -> Path:
    """Return the path of the file that a link points to: the link stays, and the file is replaced.

    Raises:
        CommandError: The link points to itself.
    """
    try:
        return Path(path).resolve()
    except RuntimeError as error:  # until Python 3.12
        message = f"cannot write {path}: it is a link to itself"
        raise CommandError(message) from error


@contextlib.contextmanager
def _replacement(target: Path, path: str) -> Iterator[BinaryIO]:
    if target.is_dir():
        message = f"{path or repr(path)} is a folder; specify a file in it"
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
