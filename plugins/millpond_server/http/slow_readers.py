"""SlowReaders: limits the memory of responses that wait until their clients read them."""

import asyncio
from typing import Protocol

MIN_AGE_S = 1.0  # a response that has waited for less is not slow


class Reader(Protocol):
    """A connection whose client has not read its response."""

    @property
    def held_bytes(self) -> int:
        """The memory that its response uses."""
        ...

    @property
    def read_bytes(self) -> int:
        """The number of bytes that were sent to the client so far."""
        ...

    def end_unread(self) -> None:
        """Close the connection at once."""
        ...


class SlowReaders:
    """The connections with responses that wait for their clients.

    If their responses use too much memory together, the connections are closed whose clients read the fewest bytes per
    second. A single response may be larger than the limit: its client may be the only one.

    Args:
        max_bytes: The limit.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._starts: dict[Reader, tuple[float, int]] = {}  # the time, and the bytes that the client had read
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held_bytes(self) -> int:
        """The memory of all waiting responses."""
        return sum(reader.held_bytes for reader in self._starts)

    def add(self, reader: Reader) -> None:
        """Add a connection whose response starts to wait, or a part of it."""
        self._starts.setdefault(reader, (asyncio.get_running_loop().time(), reader.read_bytes))
        self._check()

    def remove(self, reader: Reader) -> None:
        """Remove a connection whose client has read the response, or left."""
        self._starts.pop(reader, None)

    def _check(self) -> None:
        """Close the slowest connections while the limit is exceeded, and check again while it is."""
        if self._timer is not None or len(self._starts) < 2:  # noqa: PLR2004  a single one may exceed it
            return
        excess = self.held_bytes - self._max_bytes
        if excess <= 0:
            return
        now = asyncio.get_running_loop().time()
        old = [reader for reader, (start, _) in self._starts.items() if now - start >= MIN_AGE_S]
        for reader in sorted(old, key=lambda reader: self._rate(reader, now)):
            if excess <= 0 or len(self._starts) == 1:
                return
            excess -= reader.held_bytes
            self.remove(reader)
            reader.end_unread()
        if excess > 0:
            self._timer = asyncio.get_running_loop().call_later(MIN_AGE_S, self._check_again)

    def _check_again(self) -> None:
        self._timer = None
        self._check()

    def _rate(self, reader: Reader, now: float) -> float:
        """Return the bytes per second that a client has read since its response started to wait."""
        start, read_bytes = self._starts[reader]
        return (reader.read_bytes - read_bytes) / (now - start)
