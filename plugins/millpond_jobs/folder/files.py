"""Files of a job folder: JSON with a checksum of its content, and errors of the file system as errors of jobs."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from millpond_jobs.errors import JobError
from millpond_storage.files import read_json, write_json

CHECKSUM = "checksum"


@contextmanager
def stating_failures(action: str, path: Path) -> Iterator[None]:
    """Turn an error of the file system into a `JobError` that names the file, such as for a full disk.

    Raises:
        JobError: If the body raises OSError.
    """
    try:
        yield
    except OSError as error:
        advice = "remove it by hand" if isinstance(error, IsADirectoryError) else "finished shards are kept"
        message = f"cannot {action} {path}: {error.strerror or error}; {advice}, then run the job again"
        raise JobError(message) from error


def write_checked(path: Path, value: dict[str, Any], *, private: bool = False) -> None:
    """Write an object as JSON, with a checksum of its other members."""
    write_json(path, value | {CHECKSUM: json_sha256(value)}, private=private)


def read_checked(path: Path) -> tuple[dict[str, Any], bool]:
    """Return the object that `write_checked` wrote, and whether its checksum is right.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a JSON object.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        message = f"expected a JSON object, got {type(value).__name__}"
        raise ValueError(message)  # noqa: TRY004  the file is damaged, not the caller's argument
    checksum = value.pop(CHECKSUM, None)
    return value, checksum == json_sha256(value)


def json_sha256(value: object) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal; the order of members does not change it."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
