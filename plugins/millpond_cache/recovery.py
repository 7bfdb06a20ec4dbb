"""DatabaseSlot: the connection to a cache's file; a damaged file is replaced with an empty one."""

import errno
import logging
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from millpond.regular_file import NO_FOLLOW, NO_WAIT
from millpond.types.errors import InvalidInputError
from millpond_cache.database import Database, SchemaError
from millpond_storage.ownership import distrust

try:
    import fcntl
except ImportError:  # not on Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)
MAX_RECOVERIES = 3  # more damage in one process indicates a broken disk
OPEN_TIMEOUT_S = 10.0
LOCK_TIMEOUT_S = 10.0
RETRY_S = 0.05
SUFFIXES = ("", "-wal", "-shm", "-journal")
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class DatabaseSlot:
    """The connection to the file of a cache, which is replaced if the file is damaged.

    Args:
        path: The file.
        open_database: Opens a connection.

    Raises:
        InvalidInputError: If a newer version of Millpond wrote the file.
        OSError: If the folder cannot be written.
        sqlite3.Error: If the file cannot be opened.
    """

    def __init__(self, path: Path, open_database: Callable[[], Database]) -> None:
        self._path = path
        self._open_database = open_database
        self._recoveries = 0
        self._lock = threading.Lock()
        self._database: Database | None = self._open()

    def get(self) -> Database | None:
        """Return the connection; None after ``close``, or if the file could not be replaced.

        If the file was removed or replaced since, such as by another process that found it damaged, it is opened again.
        """
        with self._lock:
            if self._database is not None and not self._is_current(self._database):
                self._database.close()
                self._database = None
                self._reopen()
            return self._database

    def recover(self, damaged: Database, error: sqlite3.Error) -> None:
        """Close a connection to a damaged file, and open a new file.

        Args:
            damaged: The connection.
            error: The error that it raised.
        """
        with self._lock:
            if self._database is not damaged:
                return
            self._database = None
            damaged.close()
            self._recoveries += 1
            if self._recoveries > MAX_RECOVERIES:
                logger.warning("the cache %s was damaged again (%s): it is not used any more", self._path, error)
                return
            self._reopen(damaged.inode, error)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._database is not None:
                self._database.close()
            self._database = None

    def _is_current(self, database: Database) -> bool:
        try:
            return self._path.lstat().st_ino == database.inode
        except OSError:
            return False

    def _reopen(self, damaged_inode: int | None = None, error: sqlite3.Error | None = None) -> None:
        """Open the file again, after removing it if it is the damaged one."""
        try:
            if damaged_inode is not None and error is not None:
                with locked(self._path.parent):
                    self._remove(damaged_inode, error)
            self._database = self._open()
        except (OSError, sqlite3.Error, InvalidInputError) as problem:
            logger.warning("the cache %s cannot be opened again (%s): it is not used any more", self._path, problem)

    def _open(self) -> Database:
        with locked(self._path.parent):
            create_file(self._path)
            inode = self._path.lstat().st_ino
            try:
                return self._open_when_free()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._remove(inode, error)
                create_file(self._path)
                return self._open_when_free()

    def _open_when_free(self) -> Database:
        """Open the file, and wait while another process changes its mode."""
        deadline = time.monotonic() + OPEN_TIMEOUT_S
        while True:
            try:
                return self._open_database()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_S)

    def _remove(self, inode: int, error: sqlite3.Error) -> None:
        """Remove the file and its log, unless another process has replaced it already."""
        if not self._path.exists() or self._path.lstat().st_ino != inode:
            return
        logger.warning("the cache %s is damaged (%s): it is replaced with an empty one", self._path, error)
        remove_files(self._path)


def is_damage(error: sqlite3.Error) -> bool:
    """True if an error means that the content of the file is damaged."""
    if isinstance(error, SchemaError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # such as a table that does not exist, raised by the module itself
        return False
    is_missing_table = code == sqlite3.SQLITE_ERROR and "no such" in str(error)
    return code & 0xFF in DAMAGE or is_missing_table


def remove_files(path: Path) -> None:
    """Remove the file of a cache and its log."""
    for suffix in SUFFIXES:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def create_file(path: Path) -> None:
    """Create the file of a cache if it does not exist, and check it and its logs; see ``check_files``.

    An existing file is not opened: closing a descriptor releases the locks that other connections of this process hold
    on the file (POSIX), and writers would damage it.
    """
    check_files(path)
    if not path.exists():
        with suppress(FileExistsError):  # another process created it in between
            os.close(_open_own(path, os.O_EXCL))
            return
        check_files(path)


def check_files(path: Path) -> None:
    """Check that the files of a cache are regular files that belong to this user or root, and not links.

    Raises:
        OSError: If they are not.
    """
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            _check_own(Path(f"{path}{suffix}").lstat(), Path(f"{path}{suffix}"))


def _open_own(path: Path, mode: int = 0) -> int:
    flags = mode | os.O_RDWR | os.O_CREAT | NO_WAIT | NO_FOLLOW | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        _check_own(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_own(state: os.stat_result, path: Path) -> None:
    reason = distrust(state)
    if not stat.S_ISREG(state.st_mode):
        reason = "is a link, a pipe or another special file"
    if reason is not None:
        raise OSError(errno.EPERM, f"{path.name} {reason}", str(path))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time open or replace the file.

    Raises:
        OSError: If another process does not release the lock in time, or the lock is not a file of this user.
    """
    with os.fdopen(_open_own(folder / "lock"), "r+b") as file:
        _lock(file.fileno(), folder)
        yield


def _lock(descriptor: int, folder: Path) -> None:
    if fcntl is None:
        return
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                reason = f"another process has held its lock for {LOCK_TIMEOUT_S:g} seconds"
                raise OSError(errno.EBUSY, reason, str(folder / "lock")) from None
            time.sleep(RETRY_S)
        else:
            return
