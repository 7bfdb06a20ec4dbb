"""Durable writing: a file appears under its name complete, or not at all."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

TEMPORARY_SUFFIX = ".tmp"


def write_durably(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under a temporary name, force it to the disk, and give it its name.

    Args:
        path: The final name; an existing file is replaced.
        write: Writes the file under the path it receives.

    Raises:
        OSError: If the disk is full or the folder cannot be written. An existing file is unchanged then.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex[:12]}{TEMPORARY_SUFFIX}")
    try:
        write(temporary)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file durably."""
    write_durably(path, lambda temporary: _write_utf8(temporary, text))


def write_json(path: Path, value: object) -> None:
    """Write a JSON file durably."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def append_line(path: Path, value: object) -> None:
    """Append one JSON line. A single write with O_APPEND keeps lines of several processes apart.

    Raises:
        OSError: If the disk is full or the folder cannot be written.
    """
    line = (json.dumps(value, ensure_ascii=False) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not JSON.
    """
    return json.loads(path.read_bytes())


def _write_utf8(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
