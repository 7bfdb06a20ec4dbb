"""Transport of a connection: bounded flow control, and closing that does not lose the last response."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

LINGER_S = 2.0  # a closed connection is read for this time, or its client might lose the response to a TCP reset


class LingeringTransport:
    """A transport that reads and drops what its client is still sending before it closes.

    Args:
        transport: The transport of the event loop.
        may_receive: Returns True while the client may still be sending.
        flush_seconds: The time for the client to read the remaining bytes when the connection is closed.
    """

    def __init__(self, transport: asyncio.Transport, may_receive: Callable[[], bool], flush_seconds: float) -> None:
        self._transport = transport
        self._may_receive = may_receive
        self._flush_seconds = flush_seconds
        self._is_closing = False
        self.written_bytes = 0
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_extra_info = transport.get_extra_info

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Return True if the transport is closed or closing."""
        return self._is_closing or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send bytes, unless the transport is closing."""
        if not (self._is_closing or self._transport.is_closing()):
            self.written_bytes += len(data)
            self._transport.write(data)

    def close(self) -> None:
        """Send the remaining bytes and close; the connection is aborted if the client does not read them."""
        if self._is_closing or self._transport.is_closing():
            return
        self._is_closing = True
        loop = asyncio.get_running_loop()
        if self._transport.get_write_buffer_size():
            loop.call_later(self._flush_seconds, self._transport.abort)
        if not self._may_receive():
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        loop.call_later(LINGER_S, self._transport.close)


class BoundedFlowControl(FlowControl):
    """uvicorn's flow control, which resumes reading only if the connection permits it.

    Args:
        transport: The transport.
        can_read: Returns False while the connection's buffers are full.
    """

    def __init__(self, transport: asyncio.Transport, can_read: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._can_read = can_read

    def resume_reading(self) -> None:
        """Resume reading if the connection permits it; the connection calls this again when its buffers are free."""
        if self._can_read():
            super().resume_reading()


class UnreadTimeout:
    """Aborts a connection whose client does not read its response.

    Args:
        transport: The transport.
        seconds: The maximum time in which the client reads nothing.
    """

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._unread_bytes = 0

    def start(self) -> None:
        """Start the timer."""
        self.stop()
        self._unread_bytes = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._check)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        if self._transport.get_write_buffer_size() >= self._unread_bytes:
            self._transport.abort()
        else:
            self.start()
