"""Folders whose entries are folders with a JSON description, which are read after a restart of the server."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from re import Pattern
from typing import Any, TypeVar

from pydantic import TypeAdapter

from millpond_storage.checked import read_checked

logger = logging.getLogger(__name__)
Entry = TypeVar("Entry")
MAX_TIME = 2**40  # in seconds since 1970; larger times are damage


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
            fields = _checked(path / description, path.name)
            entry = adapter.validate_json(json.dumps(fields), strict=True)
        except FileNotFoundError:
            shutil.rmtree(path, ignore_errors=True)
        except (OSError, ValueError) as error:
            logger.warning("cannot read %s, which is ignored: %s", path / description, error)
        else:
            yield entry


def _checked(path: Path, entry_id: str) -> dict[str, Any]:
    """Return a description.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not that of the entry, or differs from its checksum.
    """
    fields, is_intact = read_checked(path)
    if fields.get("id") != entry_id:
        message = "its id is not the name of its folder"
        raise ValueError(message)
    if not is_intact:
        message = "it is damaged: its content differs from its checksum"
        raise ValueError(message)
    return fields
