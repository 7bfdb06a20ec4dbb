"""Status and removal of the cache in a folder."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from millpond.types.errors import InvalidInputError
from millpond_cache.database import FILE_NAME, FORMAT, check_schema
from millpond_cache.recovery import check_files, locked, remove_files


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """The entries of a model.

    Attributes:
        model: The name of the model when its first entry was stored.
        fingerprint: The hash of its files, settings, device and versions.
        entries: The number of entries.
        bytes: The size of their values.
    """

    model: str
    fingerprint: str
    entries: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class CacheStatus:
    """The content of a cache.

    Attributes:
        path: The file.
        format: The number of its format.
        bytes: The size of the file and its log.
        models: The models that have entries, largest first.
    """

    path: str
    format: int
    bytes: int
    models: tuple[ModelStatus, ...]


def read_status(folder: str) -> CacheStatus:
    """Return the content of the cache in a folder; reads the whole file.

    Raises:
        InvalidInputError: If the folder contains no cache, or the file cannot be read.
    """
    path = _file_of(folder)
    size = sum(Path(f"{path}{suffix}").stat().st_size for suffix in ("", "-wal") if Path(f"{path}{suffix}").exists())
    try:
        check_files(path)
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            check_schema(connection, path)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            rows = connection.execute(
                "SELECT name, fingerprint, count(*), sum(length(value)) FROM entries "
                "JOIN models ON models.id = entries.model GROUP BY models.id ORDER BY 4 DESC"
            ).fetchall()
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        message = f"the cache {path} cannot be read: {error}. `millpond cache clear` removes it"
        raise InvalidInputError(message, parameter="folder") from error
    models = [
        ModelStatus(model=name, fingerprint=hash_, entries=count, bytes=size) for name, hash_, count, size in rows
    ]
    return CacheStatus(path=str(path), format=version or FORMAT, bytes=size, models=tuple(models))


def clear(folder: str) -> None:
    """Remove the cache in a folder. Processes that use it continue with a new file.

    Raises:
        InvalidInputError: If the folder contains no cache, or it cannot be removed.
    """
    path = _file_of(folder)
    try:
        with locked(path.parent):
            remove_files(path)
    except OSError as error:
        raise InvalidInputError(f"the cache {path} cannot be removed: {error.strerror}", parameter="folder") from error


def _file_of(folder: str) -> Path:
    path = Path(folder).expanduser() / FILE_NAME
    if not path.is_file() and not path.is_symlink():
        raise InvalidInputError(f"{folder} contains no cache: it has no file {FILE_NAME}", parameter="folder")
    return path
