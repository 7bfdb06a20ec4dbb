"""Connection: uvicorn's HTTP/1.1 protocol with limits on what it lacks limits for: heads, idleness, and how many."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from millpond_server.errors import ApiError, answer
from millpond_server.settings import Limits

LINGER = 2.0  # seconds for which a closed connection is still read: else its client may never see the answer
FIELD = 4  # bytes around a header: a colon, a blank, the end of the line


class Lingering:
    """A transport that closes in two steps while its client still sends: what it then sends is read, and dropped."""

    def __init__(self, transport: asyncio.Transport, is_fed: Callable[[], bool]) -> None:
        self._transport = transport
        self._is_fed = is_fed
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
        """Send what is left, and close."""
        if self.is_closing():
            return
        self._closing = True
        if not self._is_fed():
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER, self._transport.close)


class Connection(HttpToolsProtocol):
    """One connection of a client.

    A head that is too large is answered 431, one that does not arrive in time 408, a connection too many 503; one that
    idles is closed. All of them are closed afterwards.
    """

    def __init__(
        self, *, limits: Limits, on_refused: Callable[[ApiError, str], None] = lambda *_: None, **uvicorn: Any
    ) -> None:
        """Wait for the connection.

        Args:
            limits: What is refused.
            on_refused: Told of each refusal, with the client's address.
            **uvicorn: What uvicorn hands to its protocols.
        """
        super().__init__(**uvicorn)
        self._limits = limits
        self._on_refused = on_refused
        self._timer: asyncio.TimerHandle | None = None
        self._in_body = False
        self._head_bytes = 0  # of what was parsed
        self._head_count = 0
        self._unparsed = 0  # bytes of a head that is not whole yet
        self._fault: ApiError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Take the connection, if there are not too many."""
        lingering = Lingering(transport, lambda: self._fault is not None or self._in_body)
        super().connection_made(cast("asyncio.Transport", lingering))
        if len(self.connections) > self._limits.connections:
            message = f"more than {self._limits.connections} connections are open"
            self._refuse(ApiError(503, message, retry_after=1.0, reason="connections"))
            return
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, within the limits of a head."""
        if self.transport.is_closing():
            return
        whole = self._in_body  # a head that begins within this data is not counted before more of it comes
        if not whole and self._timer is None:
            self._start_timer()
        super().data_received(data)
        if self._in_body or self._timer is None or whole:
            return
        self._unparsed += len(data)
        if self._unparsed > self._limits.header_bytes:
            self._refuse(self._too_large())

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head_bytes = self._head_count = self._unparsed = 0
        if self._timer is None:
            self._start_timer()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the path."""
        self._count(len(url), fields=0)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(len(name) + len(value) + FIELD, fields=1)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: its request is served."""
        self._stop_timer()
        self._in_body = True
        self._unparsed = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or a head that is too large."""
        self._refuse(self._fault or ApiError(400, msg, reason="http"))

    def _count(self, size: int, *, fields: int) -> None:
        self._head_bytes += size
        self._head_count += fields
        if self._head_bytes > self._limits.header_bytes or self._head_count > self._limits.headers:
            self._fault = self._too_large()
            raise self._fault  # the parser stops, and has send_400_response called

    def _too_large(self) -> ApiError:
        message = f"the head of a request may have {self._limits.header_bytes} bytes and {self._limits.headers} headers"
        return ApiError(431, message, reason="head")

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._limits.header_seconds, self._too_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        message = f"the head of the request did not arrive within {self._limits.header_seconds:g} seconds"
        self._refuse(ApiError(408, message, reason="slow_head"))

    def _refuse(self, error: ApiError) -> None:
        """Answer without a request, and close; where an answer is under way, close."""
        self._fault = error
        self._stop_timer()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        self._on_refused(error, self.client[0] if self.client else "-")
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_raw(answer(error)))
        self.transport.close()


def _raw(response: Response) -> bytes:
    headers = [*response.raw_headers, (b"connection", b"close")]
    lines = [STATUS_LINE[response.status_code], *(name + b": " + value + b"\r\n" for name, value in headers)]
    return b"".join([*lines, b"\r\n", bytes(response.body)])
