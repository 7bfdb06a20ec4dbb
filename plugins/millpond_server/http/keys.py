"""ApiKeys: the API keys of a server, from the command line and from a file that may change while it runs."""

import codecs
import hashlib
import logging
import time
from collections.abc import Iterable
from hmac import compare_digest
from pathlib import Path

logger = logging.getLogger(__name__)
FILE_CHECK_INTERVAL_S = 1.0


class ApiKeys:
    """The valid API keys, stored as SHA-256 digests.

    Raises:
        ValueError: If the file contains no key.
        OSError: If the file cannot be read.
    """

    def __init__(self, keys: Iterable[str], file: str | None = None) -> None:
        self._digests = _hashed(keys)
        self._file = None if file is None else Path(file)
        self._file_stamp: tuple[int, int] | None = None
        self._file_digests: tuple[bytes, ...] = ()
        self._checked_at = float("-inf")
        if self._file is not None:
            self._file_stamp, self._file_digests = _read(self._file)

    @property
    def are_required(self) -> bool:
        """True if the server has keys; a server without keys is open to all clients."""
        return self._file is not None or bool(self._digests)

    def is_valid(self, key: bytes) -> bool:
        """Return True for a valid key. All keys are compared, each in constant time."""
        self._reload()
        digest = digest_of(key)
        is_valid = False
        for valid_digest in (*self._digests, *self._file_digests):
            is_valid |= compare_digest(digest, valid_digest)
        return is_valid

    def _reload(self) -> None:
        """Read the file if it has changed. If it cannot be read or is empty, the keys are not changed."""
        now = time.monotonic()
        if self._file is None or now - self._checked_at < FILE_CHECK_INTERVAL_S:
            return
        self._checked_at = now
        try:
            if _stamp_of(self._file) == self._file_stamp:
                return
            self._file_stamp, self._file_digests = _read(self._file)
            logger.warning("reloaded the API keys: %d", len(self._file_digests))
        except (OSError, ValueError) as error:
            logger.warning("the API keys are not changed: %s", error)


def digest_of(key: bytes) -> bytes:
    """Return the SHA-256 of a key."""
    return hashlib.sha256(key).digest()


def _read(file: Path) -> tuple[tuple[int, int], tuple[bytes, ...]]:
    stamp = _stamp_of(file)
    lines = (line.strip() for line in _text_of(file).splitlines())
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        message = f"{file} contains no API key: write one per line"
        raise ValueError(message)
    return stamp, _hashed(keys)


def _text_of(file: Path) -> str:
    """Return the text of a file in UTF-8 or UTF-16, with or without a byte order mark."""
    content = file.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        message = f"{file} is not UTF-8 text: {error.reason} at byte {error.start}"
        raise ValueError(message) from error


def _stamp_of(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_ino


def _hashed(keys: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(digest_of(key.encode()) for key in keys)
