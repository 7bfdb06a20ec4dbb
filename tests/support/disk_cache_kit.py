"""Entries of the cache on disk, for its tests."""

import random
from pathlib import Path

MEBIBYTE = 2**20


def key(number: int) -> bytes:
    """Return a key, different for each number."""
    return number.to_bytes(32, "little")


def value(number: int, size: int = 1500) -> bytes:
    """Return the value of a key."""
    return random.Random(number).randbytes(size)


def entries(*numbers: int, size: int = 1500) -> list[tuple[bytes, bytes]]:
    """Return entries by number."""
    return [(key(number), value(number, size)) for number in numbers]


def keys(*numbers: int) -> list[bytes]:
    """Return keys by number."""
    return [key(number) for number in numbers]


def size_of(folder: Path) -> int:
    """Return the size of all files of a folder in bytes."""
    return sum(path.stat().st_size for path in folder.iterdir())
