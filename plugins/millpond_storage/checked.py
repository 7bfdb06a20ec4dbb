"""JSON files with a checksum of their content."""

import hashlib
import json
from pathlib import Path
from typing import Any

from millpond_storage.files import read_json, write_json

CHECKSUM = "checksum"


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
