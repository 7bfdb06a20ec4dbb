"""Durable writing: a file appears under its name complete, or not at all. Reading accepts regular files only."""

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

TEMPORARY_SUFFIX = ".tmp"
PRIVATE_MODE, SHARED_MODE = 0o600, 0o644
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe without a writer would wait for one
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
BINARY = getattr(os, "O_BINARY", 0)


def write_durably(path: Path, write: Callable[[Path], None], *, private: bool = False) -> None:
    """Write a file under a temporary name, force it to the disk, and give it its name.

    Args:
        path: The final name; an existing file is replaced.
        write: Writes the file under the path it receives.
        private: Let only the owner read it.

    Raises:
        OSError: If the disk is full or the folder cannot be written. An existing file is unchanged then.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex[:12]}{TEMPORARY_SUFFIX}")
    try:
        if private:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, PRIVATE_MODE))
        write(temporary)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a text file durably; if it is private, only the owner may read it."""
    write_durably(path, lambda temporary: _write_utf8(temporary, text), private=private)


def write_json(path: Path, value: object, *, private: bool = False) -> None:
    """Write a JSON file durably; if it is private, only the owner may read it."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n", private=private)


def append_line(path: Path, value: object) -> None:
    """Append one JSON line. A single write with O_APPEND keeps lines of several processes apart.

    Raises:
        OSError: If the disk is full, the folder cannot be written, or the file is a link, a pipe or a device.
    """
    line = (json.dumps(value, ensure_ascii=False) + "\n").encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_WAIT | NO_FOLLOW | BINARY
    descriptor = os.open(path, flags, SHARED_MODE)
    try:
        _check_regular(descriptor, path)
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file, or of one that a link names.

    Raises:
        OSError: If it cannot be read, or is a folder, a pipe or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | NO_WAIT | BINARY)
    try:
        _check_regular(descriptor, path)  # os.fdopen of a folder names the descriptor, not the path
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        OSError: If it cannot be read, or is a folder, a pipe or a device.
        ValueError: If it is not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except RecursionError as error:
        message = "it is nested too deeply"
        raise ValueError(message) from error


def _check_regular(descriptor: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def _write_utf8(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
