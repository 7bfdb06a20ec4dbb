"""Read folders whose entries are folders with a JSON description, after a restart of the server."""

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from re import Pattern
from typing import Any, TypeVar

from millpond_storage.files import read_json

logger = logging.getLogger(__name__)
Entry = TypeVar("Entry")


def read_entries(
    folder: Path, name: Pattern[str], description: str, parse: Callable[[dict[str, Any]], Entry]
) -> Iterator[Entry]:
    """Yield the entries of a folder.

    An entry without description is deleted: the process was killed during its creation or deletion, and no client knows
    its id. An entry whose description cannot be read is kept on the disk, and logged.

    Args:
        folder: The folder.
        name: The names of entries; others are ignored.
        description: The name of the file with the description.
        parse: Returns the entry for its description.
    """
    for path in sorted(folder.iterdir()):
        if name.fullmatch(path.name) is None or path.is_symlink():
            continue
        try:
            yield parse(read_json(path / description))
        except FileNotFoundError:
            shutil.rmtree(path, ignore_errors=True)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("cannot read %s, which is ignored: %s", path / description, error)
