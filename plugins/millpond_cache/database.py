"""Database: the SQLite file of a disk cache, with a maximum size; several processes may use it at the same time.

SQLite rather than LMDB: LMDB maps its file into memory, and reading a truncated file would kill the process.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from millpond.types.errors import InvalidInputError

FILE_NAME = "results.sqlite"
APPLICATION_ID = 0x4D504E43  # marks files of this kind for tools such as `file`
FORMAT = 1
PAGE_BYTES = 8192  # five vectors of 384 numbers, with little waste
MAX_WAL_PAGES = 1000
MAX_TRANSACTION_BYTES = 4 * 2**20
WAIT_S = 5.0  # for the lock of another process
TOUCH_AFTER_S = 60  # the time of use is stored with this precision: writing it at each hit would cost more than the hit
KEYS_PER_QUERY = 500
ROWS_PER_DELETE = 64
MIN_BYTES = 64 * PAGE_BYTES
SCHEMA = f"""
CREATE TABLE models (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, name TEXT NOT NULL);
CREATE TABLE entries (key BLOB PRIMARY KEY, model INTEGER NOT NULL, used INTEGER NOT NULL, value BLOB NOT NULL);
CREATE INDEX entries_by_use ON entries (used);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""

STATEMENTS = {it.strip() for it in SCHEMA.split(";") if it.strip().startswith("CREATE")}


class SchemaError(sqlite3.DatabaseError):
    """The file of a cache has other tables than Millpond creates, or views or triggers."""


def check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a file that is marked as a cache contains only Millpond's tables, before anything is selected.

    Raises:
        InvalidInputError: If another program wrote the file.
        SchemaError: If it has other tables, or views or triggers.
    """
    objects = connection.execute("SELECT CAST(sql AS TEXT) FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    statements = {it[0].decode(errors="replace") if isinstance(it[0], bytes) else it[0] for it in objects}
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if statements and application != APPLICATION_ID:
        message = f"{path} was not written by Millpond: use another folder as cache"
        raise InvalidInputError(message, parameter="cache")
    if statements and statements != STATEMENTS:
        message = "it contains other tables, views or triggers than a cache"
        raise SchemaError(message)


class Database:
    """One connection to the file of a cache; only one thread at a time may use it.

    Args:
        path: The file.
        max_bytes: The maximum size of the file and its write-ahead log.
        fingerprint: The fingerprint of the model whose entries are written.
        model: The name of the model.

    Raises:
        InvalidInputError: If a newer version of Millpond wrote the file.
        sqlite3.Error: If the file cannot be opened, or is damaged.
    """

    def __init__(self, path: Path, max_bytes: int, fingerprint: str, model: str) -> None:
        max_pages = max_bytes // PAGE_BYTES
        log_pages = max(min(max_pages // 16, MAX_WAL_PAGES), 1)
        self.path = path
        self.transaction_bytes = min(max_bytes // 16, MAX_TRANSACTION_BYTES)
        self._max_pages = max_pages - 2 * log_pages - self.transaction_bytes // PAGE_BYTES
        self._connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        self._connection.text_factory = bytes  # decoding the text of a damaged row would fail
        try:
            self.inode = path.lstat().st_ino
            self._configure(log_pages)
            self._model = self._prepare(fingerprint, model)
        except BaseException:
            self._connection.close()
            raise

    def get(self, keys: Sequence[bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
        """Return the values of those keys that exist, and the keys whose time of use should be updated."""
        values: dict[bytes, bytes] = {}
        outdated: list[bytes] = []
        recent = time.time() - TOUCH_AFTER_S
        for start in range(0, len(keys), KEYS_PER_QUERY):
            part = keys[start : start + KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, used, value FROM entries WHERE key IN ({marks})"  # noqa: S608  only question marks
            for key, used, value in self._connection.execute(query, part):
                if not (isinstance(key, bytes) and isinstance(value, bytes)):
                    continue  # a damaged row
                values[key] = value
                if not isinstance(used, int) or used < recent:
                    outdated.append(key)
        return values, outdated

    def put(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Store values in transactions; the least recently used ones are dropped if necessary."""
        for part in self._parts(entries):
            now = int(time.time())
            rows = [(key, self._model, now, value) for key, value in part]
            try:
                self._insert(rows, sum(len(value) for _, value in part))
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or self._num_pages() < self._max_pages:
                    raise
                self._insert(rows, 2 * sum(len(value) for _, value in part))

    def touch(self, keys: Iterable[bytes]) -> None:
        """Set the time of use of keys to now."""
        now = int(time.time())
        with self._transaction():
            self._connection.executemany("UPDATE entries SET used = ? WHERE key = ?", [(now, key) for key in keys])

    def close(self) -> None:
        """Close the connection; the last one to be closed removes the write-ahead log."""
        self._connection.close()

    def _configure(self, log_pages: int) -> None:
        for pragma in (
            f"page_size = {PAGE_BYTES}",
            "auto_vacuum = INCREMENTAL",
            "trusted_schema = OFF",
            "cell_size_check = ON",
            "journal_mode = WAL",
            "synchronous = NORMAL",
            f"max_page_count = {self._max_pages}",
            f"wal_autocheckpoint = {log_pages}",
            f"journal_size_limit = {log_pages * PAGE_BYTES}",
        ):
            self._connection.execute(f"PRAGMA {pragma}")

    def _prepare(self, fingerprint: str, model: str) -> int:
        """Create the tables, and shrink the file to its maximum size; return the number of the model."""
        version = self._pragma("user_version")
        if version > FORMAT:
            message = (
                f"the cache {self.path} has format {version}, which a newer version of Millpond wrote; this version "
                f"reads format {FORMAT}. Use another folder, or remove it with `millpond cache clear`"
            )
            raise InvalidInputError(message, parameter="cache")
        check_schema(self._connection, self.path)
        if version == 0:
            with self._transaction():
                for statement in filter(str.strip, SCHEMA.split(";")):
                    self._connection.execute(statement)
        self._shrink()
        with self._transaction():
            self._connection.execute(
                "INSERT OR IGNORE INTO models (fingerprint, name) VALUES (?, ?)", (fingerprint, model)
            )
        row = self._connection.execute("SELECT id FROM models WHERE fingerprint = ?", (fingerprint,)).fetchone()
        return int(row[0])

    def _shrink(self) -> None:
        """Shrink a file that was written with a larger maximum size."""
        if self._pragma("page_count") <= self._max_pages:
            return
        while self._num_pages() > self._max_pages and self._delete_oldest():
            pass
        # execute() would stop after one page: the statement yields a row without columns for each
        self._connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.execute(f"PRAGMA max_page_count = {self._max_pages}")

    def _insert(self, rows: list[tuple[bytes, int, int, bytes]], num_bytes: int) -> None:
        needed = num_bytes // PAGE_BYTES * 3 // 2 + len(rows) // 8 + 8
        with self._transaction():
            while self._num_pages() + needed > self._max_pages and self._delete_oldest():
                pass
            self._connection.executemany(
                "INSERT OR REPLACE INTO entries (key, model, used, value) VALUES (?, ?, ?, ?)", rows
            )

    def _delete_oldest(self) -> bool:
        """Delete some of the least recently used entries; return False if the cache is empty."""
        oldest = f"SELECT rowid FROM entries ORDER BY used, rowid LIMIT {ROWS_PER_DELETE}"  # noqa: S608  a constant
        return self._connection.execute(f"DELETE FROM entries WHERE rowid IN ({oldest})").rowcount > 0  # noqa: S608

    def _num_pages(self) -> int:
        """The number of pages in use."""
        return self._pragma("page_count") - self._pragma("freelist_count")

    def _parts(self, entries: Iterable[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield the entries of each transaction; entries that would fill the cache alone are left out."""
        part: list[tuple[bytes, bytes]] = []
        size = 0
        for key, value in entries:
            if len(value) > self._max_pages * PAGE_BYTES // 4:
                continue
            if part and size + len(value) > self.transaction_bytes:
                yield part
                part, size = [], 0
            part.append((key, value))
            size += len(value)
        if part:
            yield part

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
