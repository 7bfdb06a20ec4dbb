"""Reading and writing of a connection: bounded flow control, and closing that lets clients see the answer."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

LINGER = 2.0  # seconds for which a closed connection is still read: else its client may never see the answer


class Lingering:
    """A transport that closes in two steps while its client still sends: what it then sends is read, and dropped.

    Args:
        transport: The transport of the event loop.
        is_fed: True while the client may still be sending.
        flush_seconds: How long a client may take to read what is left when the connection is closed.
    """

    def __init__(self, transport: asyncio.Transport, is_fed: Callable[[], bool], flush_seconds: float) -> None:
        self._transport = transport
        self._is_fed = is_fed
        self._flush_seconds = flush_seconds
        self._closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send, unless it is closed."""
        if not self.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Send what is left, and close; a client that does not read it is cut off."""
        if self.is_closing():
            return
        self._closing = True
        loop = asyncio.get_running_loop()
        if self._transport.get_write_buffer_size():
            loop.call_later(self._flush_seconds, self._transport.abort)
        if not self._is_fed():
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        loop.call_later(LINGER, self._transport.close)


class Flow(FlowControl):
    """uvicorn's flow control, which reads on only where the connection allows it.

    Args:
        transport: The transport.
        may_read: False while the connection holds as much as it may.
    """

    def __init__(self, transport: asyncio.Transport, may_read: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._may_read = may_read

    def resume_reading(self) -> None:
        """Read on, if the connection allows it; it calls again when it does."""
        if self._may_read():
            super().resume_reading()


class Stall:
    """Cuts a connection off whose client does not read its answer.

    Args:
        transport: The transport.
        seconds: How long nothing of the answer may be read.
    """

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0

    def watch(self) -> None:
        """Begin: there is more to send than the client reads."""
        self.stop()
        self._left = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def stop(self) -> None:
        """End: the client has read most of it, or is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._transport.get_write_buffer_size() >= self._left:
            self._transport.abort()
        else:
            self.watch()
