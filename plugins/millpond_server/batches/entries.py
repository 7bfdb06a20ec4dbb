"""Folders whose entries are folders with a JSON description, which are read after a restart of the server."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from re import Pattern
from typing import Any, TypeVar

from pydantic import TypeAdapter

from millpond_storage.files import read_json, write_json

logger = logging.getLogger(__name__)
Entry = TypeVar("Entry")
CHECKSUM = "checksum"  # the field of a description with the digest of the others
MAX_TIME = 2**40  # in seconds since 1970; larger times are damage


def write_description(path: Path, fields: dict[str, Any]) -> None:
    """Write the description of an entry with a checksum.

    Raises:
        OSError: If the disk is full.
    """
    write_json(path, {**fields, CHECKSUM: _digest(fields)}, private=True)


def read_entries(folder: Path, name: Pattern[str], description: str, entry_type: type[Entry]) -> Iterator[Entry]:
    """Yield the entries of a folder.

    An entry without description is deleted: the process was killed during its creation or deletion, and no client knows
    its id. An entry with a damaged description is kept on the disk, and logged.

    Args:
        folder: The folder.
        name: The names of entries; others are ignored.
        description: The name of the file with the description.
        entry_type: The dataclass of an entry, with a field ``id``.
    """
    adapter: TypeAdapter[Entry] = TypeAdapter(entry_type)
    for path in sorted(folder.iterdir()):
        if name.fullmatch(path.name) is None or path.is_symlink():
            continue
        try:
            fields = _checked(read_json(path / description), path.name)
            entry = adapter.validate_json(json.dumps(fields), strict=True)
        except FileNotFoundError:
            shutil.rmtree(path, ignore_errors=True)
        except (OSError, ValueError) as error:
            logger.warning("cannot read %s, which is ignored: %s", path / description, error)
        else:
            yield entry


def _checked(fields: Any, entry_id: str) -> dict[str, Any]:
    """Return a description without its checksum.

    Raises:
        ValueError: If it is not that of the entry, or differs from its checksum.
    """
    if not isinstance(fields, dict):
        message = "expected a JSON object"
        raise ValueError(message)  # noqa: TRY004
    if fields.get("id") != entry_id:
        message = "its id is not the name of its folder"
        raise ValueError(message)
    if fields.pop(CHECKSUM, None) != _digest(fields):
        message = "it is damaged: its content differs from its checksum"
        raise ValueError(message)
    return fields


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
