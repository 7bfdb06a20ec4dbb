"""Durable writing: a file appears under its name complete, or not at all."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from millpond_jobs.errors import JobError

TEMPORARY_SUFFIX = ".tmp"


@contextmanager
def stating_failures(action: str, path: Path) -> Iterator[None]:
    """Turn an error of the file system into a `JobError` that names the file, such as for a full disk.

    Raises:
        JobError: If the body raises OSError.
    """
    try:
        yield
    except OSError as error:
        message = f"Cannot {action} {path}: {error.strerror or error}. Finished shards are kept; run the job again."
        raise JobError(message) from error


def write_durably(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under a temporary name, force it to the disk, and give it its name.

    Args:
        path: The final name; an existing file is replaced.
        write: Writes the file under the path it receives.

    Raises:
        JobError: If the disk is full or the folder cannot be written. An existing file is unchanged then.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex[:12]}{TEMPORARY_SUFFIX}")
    try:
        with stating_failures("write", path):
            write(temporary)
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file durably."""
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    write_durably(path, lambda temporary: _write_text(temporary, text))


def append_line(path: Path, value: object) -> None:
    """Append one JSON line. A single write with O_APPEND keeps lines of several processes apart."""
    line = (json.dumps(value, ensure_ascii=False) + "\n").encode()
    with stating_failures("append to", path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        JobError: If the file is missing or damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        message = f"Cannot read {path}: {error}"
        raise JobError(message) from error


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
