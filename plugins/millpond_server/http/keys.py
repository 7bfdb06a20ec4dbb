"""Keys: the API keys that a server takes, from the command line and from a file that may change while it runs."""

import codecs
import hashlib
import logging
import time
from collections.abc import Iterable
from hmac import compare_digest
from pathlib import Path

logger = logging.getLogger(__name__)
LOOK_EVERY = 1.0  # seconds between two looks at the file


class Keys:
    """The keys that may be used, kept as their SHA-256.

    Raises:
        ValueError: If the file holds no key.
        OSError: If the file cannot be read.
    """

    def __init__(self, keys: Iterable[str], file: str | None = None) -> None:
        self._given = _hashed(keys)
        self._file = None if file is None else Path(file)
        self._stamp: tuple[int, int] | None = None
        self._looked = float("-inf")
        self._read: tuple[bytes, ...] = ()
        if self._file is not None:
            self._stamp, self._read = _read(self._file)

    @property
    def are_needed(self) -> bool:
        """Whether there are any; a server without is open."""
        return self._file is not None or bool(self._given)

    def take(self, key: bytes) -> bool:
        """Whether a key may be used. All keys are compared, each in the same time whatever it holds."""
        self._look_again()
        digest = hashlib.sha256(key).digest()
        found = False
        for known in (*self._given, *self._read):
            found |= compare_digest(digest, known)
        return found

    def _look_again(self) -> None:
        """Read the file if it has changed; one that cannot be read, or is empty, leaves the keys as they are."""
        now = time.monotonic()
        if self._file is None or now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        try:
            if _stamp_of(self._file) == self._stamp:
                return
            self._stamp, self._read = _read(self._file)
            logger.warning("the API keys were read anew: %d", len(self._read))
        except (OSError, ValueError) as error:
            logger.warning("the API keys stay as they are: %s", error)


def _read(file: Path) -> tuple[tuple[int, int], tuple[bytes, ...]]:
    stamp = _stamp_of(file)
    lines = (line.strip() for line in _text_of(file).splitlines())
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        message = f"{file} holds no key: write one a line"
        raise ValueError(message)
    return stamp, _hashed(keys)


def _text_of(file: Path) -> str:
    """Return the text of a file as editors of any system write it: with or without a byte order mark."""
    content = file.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        message = f"{file} is not text in UTF-8: {error.reason} at byte {error.start}"
        raise ValueError(message) from error


def _stamp_of(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_ino


def _hashed(keys: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(key.encode()).digest() for key in keys)
