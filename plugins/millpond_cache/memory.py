"""MemoryCache: entries in memory, bounded by bytes; the least recently used ones are dropped."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from millpond.types.errors import InvalidInputError
from millpond_cache.kinds import CacheOptions
from millpond_cache.setting import parse_size

DEFAULT_BYTES = 512 * 1000**2
ENTRY_OVERHEAD = 200  # bytes of the objects and the dict entry of one key and value, measured with CPython 3.11


class MemoryCache:
    """Entries in the memory of this process; safe for threads.

    Args:
        max_bytes: The maximum size of keys, values and their overhead.

    Attributes:
        num_bytes: The present size.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, which is then the most recently used; None for a missing one."""
        values: list[bytes | None] = []
        with self._lock:
            for key in keys:
                value = self._entries.get(key)
                if value is not None:
                    self._entries.move_to_end(key)
                values.append(value)
        return values

    def put(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Store values, and drop the least recently used ones; a value over the maximum size is not stored."""
        with self._lock:
            for key, value in entries:
                size = _size(key, value)
                if size > self.max_bytes:
                    continue
                old = self._entries.pop(key, None)
                if old is not None:
                    self.num_bytes -= _size(key, old)
                self._entries[key] = value
                self.num_bytes += size
                while self.num_bytes > self.max_bytes:
                    self.num_bytes -= _size(*self._entries.popitem(last=False))

    def close(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._entries.clear()
            self.num_bytes = 0


def open_memory_cache(options: CacheOptions) -> MemoryCache:
    """Create a cache; its size is the address, as in ``memory:512MB``, or ``cache_size``.

    Raises:
        InvalidInputError: If both are passed, or the address is not a size.
    """
    if not options.address:
        return MemoryCache(options.max_bytes or DEFAULT_BYTES)
    if options.max_bytes is not None:
        message = f"cache='memory:{options.address}' and cache_size: pass the size once"
        raise InvalidInputError(message, parameter="cache_size")
    return MemoryCache(parse_size(options.address, "cache"))


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_OVERHEAD
