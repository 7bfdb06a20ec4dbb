"""DiskCache: entries in a folder that several processes may share; a thread writes them."""

import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

from millpond.types.errors import InvalidInputError
from millpond_cache.database import FILE_NAME, MIN_BYTES, Database
from millpond_cache.kinds import CacheOptions
from millpond_cache.recovery import DatabaseSlot, is_damage
from millpond_storage.ownership import distrust

logger = logging.getLogger(__name__)
DEFAULT_BYTES = 10 * 1000**3
MAX_PENDING_BYTES = 256 * 2**20  # results that wait for the disk; more are not stored
CLOSE_TIMEOUT_S = 30.0


class Writer:
    """Writes entries in a thread, so that callers do not wait for the disk or for other processes.

    Args:
        slot: The database.
    """

    def __init__(self, slot: DatabaseSlot) -> None:
        self._slot = slot
        self._pending: dict[bytes, bytes] = {}
        self._pending_bytes = 0
        self._touched: set[bytes] = set()
        self._condition = threading.Condition()
        self._is_closing = False
        self._is_stopped = False  # after an error of the disk
        self._thread = threading.Thread(target=self._run, name="millpond-cache", daemon=True)
        self._thread.start()

    def pending(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys that are not written yet."""
        with self._condition:
            return [self._pending.get(key) for key in keys]

    def put(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries soon."""
        with self._condition:
            if self._is_stopped or self._is_closing:
                return
            for key, value in entries:
                if key in self._pending or self._pending_bytes + len(value) > MAX_PENDING_BYTES:
                    continue
                self._pending[key] = value
                self._pending_bytes += len(value)
            self._condition.notify()

    def touch(self, keys: Sequence[bytes]) -> None:
        """Record the use of keys soon."""
        with self._condition:
            if not self._is_stopped:
                self._touched.update(keys)
                self._condition.notify()

    def close(self) -> None:
        """Write everything that is pending, and stop the thread."""
        with self._condition:
            self._is_closing = True
            self._condition.notify()
        self._thread.join(CLOSE_TIMEOUT_S)
        self._slot.close()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._pending or self._touched or self._is_closing)
                entries, touched = list(self._pending.items()), list(self._touched)
                self._touched.clear()
                if not entries and not touched:
                    return
            self._write(entries, touched)
            with self._condition:
                for key, value in entries:
                    del self._pending[key]
                    self._pending_bytes -= len(value)

    def _write(self, entries: list[tuple[bytes, bytes]], touched: list[bytes]) -> None:
        database = None if self._is_stopped else self._slot.get()
        if database is None:
            return
        try:
            database.put(entries)
            if touched:
                database.touch(touched)
        except sqlite3.Error as error:
            self._handle(error, database)

    def _handle(self, error: sqlite3.Error, database: Database) -> None:
        if is_damage(error):
            self._slot.recover(database, error)
        elif getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            logger.info("the cache %s is used by other processes: some results are not stored", database.path)
        else:
            logger.warning("the cache %s cannot be written (%s): no more results are stored", database.path, error)
            with self._condition:
                self._is_stopped = True


class DiskCache:
    """Entries in a SQLite file of a folder; safe for threads and processes.

    Args:
        folder: The folder, which is created if needed.
        max_bytes: The maximum size of its files.
        fingerprint: The fingerprint of the model.
        model: The name of the model.

    Raises:
        InvalidInputError: If the folder cannot be written, or a newer version of Millpond wrote it.
    """

    def __init__(self, folder: Path, max_bytes: int, fingerprint: str, model: str) -> None:
        def open_database() -> Database:
            return Database(folder / FILE_NAME, max_bytes, fingerprint, model)

        self._reading = DatabaseSlot(folder / FILE_NAME, open_database)
        self._writer = Writer(DatabaseSlot(folder / FILE_NAME, open_database))
        self._lock = threading.Lock()
        # Also runs at exit of the interpreter, and if the model is dropped without being closed.
        self._finalizer = weakref.finalize(self, _close, self._writer, self._reading)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key; None for a missing one."""
        values = self._writer.pending(keys)
        missing = [key for key, value in zip(keys, values, strict=True) if value is None]
        if not missing:
            return values
        with self._lock:
            database = self._reading.get()
            if database is None:
                return values
            try:
                stored, outdated = database.get(missing)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                self._reading.recover(database, error)
                return values
        if outdated:
            self._writer.touch(outdated)
        return [stored.get(key) if value is None else value for key, value in zip(keys, values, strict=True)]

    def put(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries soon; they can be read at once."""
        self._writer.put(entries)

    def close(self) -> None:
        """Write what was put, and close the file."""
        with self._lock:
            self._finalizer()


def open_disk_cache(options: CacheOptions) -> DiskCache:
    """Open or create the cache in a folder.

    Raises:
        InvalidInputError: If the folder is missing from the setting, cannot be written or can be written by other
            users, the size is too small, or a newer version of Millpond wrote the folder.
    """
    if not options.address:
        raise InvalidInputError("cache='disk:' names no folder: write cache='disk:FOLDER'", parameter="cache")
    max_bytes = DEFAULT_BYTES if options.max_bytes is None else options.max_bytes
    if max_bytes < MIN_BYTES:
        message = f"cache_size={max_bytes} is too small for a cache on disk: at least {MIN_BYTES} bytes are needed"
        raise InvalidInputError(message, parameter="cache_size")
    folder = Path(options.address).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_folder(folder)
        return DiskCache(folder, max_bytes, options.fingerprint, options.model)
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        message = f"the cache folder {folder} cannot be used: {reason}. Choose a folder that this process can write"
        raise InvalidInputError(message, parameter="cache") from error


def _check_folder(folder: Path) -> None:
    """Check that only this user and root can write a folder.

    Raises:
        InvalidInputError: If others could replace its files.
    """
    state = folder.stat()
    reason = distrust(state)
    if reason is None:
        return
    is_own = state.st_uid == os.geteuid()
    fix = f"chmod go-w {folder}, or choose another folder" if is_own else "choose a folder of this user"
    message = f"the cache folder {folder} {reason}: others could replace its results. To use a cache, {fix}"
    raise InvalidInputError(message, parameter="cache")


def _close(writer: Writer, reading: DatabaseSlot) -> None:
    writer.close()
    reading.close()
