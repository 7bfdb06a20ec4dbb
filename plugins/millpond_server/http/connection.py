"""Connection: uvicorn's HTTP/1.1 protocol with limits on heads, idle connections and their number."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from millpond_server.http.errors import ApiError, error_response
from millpond_server.http.json_stream import UNSENT_BYTES
from millpond_server.http.slow_readers import SlowReaders
from millpond_server.http.transport import BoundedFlowControl, LingeringTransport, UnreadTimeout
from millpond_server.runtime.settings import Limits

REPLACEABLE_AFTER_S = 1.0  # an idle connection may be closed for a new one after this time
HEADER_OVERHEAD_BYTES = 4  # a colon, a space and the end of the line
MAX_PIPELINED = 16  # parsed requests that wait for a response; the bytes of further requests are not parsed
PARSE_BYTES = 4096  # parsed at a time if the end of a request is unknown
HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
UPGRADE_HEADERS = frozenset({b"upgrade", b"http2-settings"})
NOT_HTTP = "the connection sent something that is not an HTTP/1.1 request"


class Connection(HttpToolsProtocol):
    """One connection of a client.

    Errors are 431 for a head that is too large, 408 for a head that does not arrive in time, 400 for bytes that are not
    HTTP, and 503 for too many connections. Earlier requests get their responses first, then the connection is closed.
    A connection that is idle or does not read its responses is closed. Upgrades to other protocols, such as h2c, are
    ignored, as RFC 9110 permits.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        slow_readers: SlowReaders,
        on_refused: Callable[[ApiError, str], None] = lambda *_: None,
        **uvicorn: Any,
    ) -> None:
        """Create the protocol.

        Args:
            limits: The limits of the server.
            slow_readers: The connections of the server with responses that wait for their clients.
            on_refused: Called for each refusal, with the error and the client's address.
            **uvicorn: The arguments of uvicorn's protocol.
        """
        super().__init__(**uvicorn)
        self._limits = limits
        self._slow_readers = slow_readers
        self._on_refused = on_refused
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timeout: UnreadTimeout | None = None
        self._in_body = False
        self._idle_since = self.loop.time()
        self._remaining_body: int | None = None  # in bytes; None for chunked transfer encoding
        self._keep_alive = False  # requested by the client; a response before the end of the body closes the connection
        self._head_bytes = 0  # parsed bytes of the head
        self._header_count = 0
        self._incomplete_bytes = 0  # received bytes of an incomplete head
        self._buffer = b""  # bytes of pipelined requests that are not parsed yet
        self._head_without_upgrade = b""  # the head of a request with an upgrade, to be parsed again
        self._parser_error: ApiError | None = None  # the reason why a callback stopped the parser
        self._final_error: ApiError | None = None  # sent before the connection is closed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Accept the connection, unless there are too many."""
        self._lingering = LingeringTransport(transport, self._may_receive, self._limits.unread_seconds)
        lingering = cast("asyncio.Transport", self._lingering)
        super().connection_made(lingering)
        self.flow = BoundedFlowControl(lingering, self._can_read)
        self._unread_timeout = UnreadTimeout(lingering, self._limits.unread_seconds)
        if len(self.connections) > self._limits.connections and not self._close_idle_connection():
            message = f"more than {self._limits.connections} connections are open"
            self._refuse(ApiError(503, message, retry_after=1.0, reason="connections"))
            return
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _may_receive(self) -> bool:
        """Return True if the client may still be sending bytes that are not parsed."""
        return self._final_error is not None or self._in_body

    def _close_idle_connection(self) -> bool:
        """Close the connection that has been idle for the longest time; return False if no connection is idle."""
        now = self.loop.time()
        idle = [
            connection
            for connection in self.connections
            if isinstance(connection, Connection) and connection.idle_seconds(now) > REPLACEABLE_AFTER_S
        ]
        if not idle:
            return False
        transport = max(idle, key=lambda connection: connection.idle_seconds(now)).transport
        if transport.get_write_buffer_size():  # the client does not read
            transport.abort()
        else:
            transport.close()
        return True

    def idle_seconds(self, now: float) -> float:
        """Return the time since the last request; 0.0 during a request or while the connection is being closed."""
        is_idle = self._has_no_request and self._timer is None and not self._in_body and not self.transport.is_closing()
        return now - self._idle_since if is_idle else 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection's resources."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        self._buffer = b""
        if self._unread_timeout is not None:
            self._unread_timeout.stop()
        self._slow_readers.remove(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection after the response to the last request."""
        self._keep_alive = False
        super().shutdown()

    # --- reading --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse received bytes request by request, within the limits of heads and pipelined requests."""
        if self.transport.is_closing() or self._final_error is not None:
            return
        self._unset_keepalive_if_required()
        self._buffer += data
        self._parse_buffer()

    def _parse_buffer(self) -> None:
        data, self._buffer, start = self._buffer, b"", 0
        while start < len(data) and self._final_error is None and not self.transport.is_closing():
            if len(self.pipeline) >= MAX_PIPELINED and not self._in_body and self._timer is None:
                self._buffer = data[start:]
                self.flow.pause_reading()
                return
            start += self._parse(data[start : start + self._parse_size(data, start)])

    def _parse_size(self, data: bytes, start: int) -> int:
        """Return the number of bytes to parse next, chosen so that they complete few requests at a time."""
        if self._in_body and self._remaining_body:
            return self._remaining_body
        marker = LAST_CHUNK if self._in_body else HEAD_END
        end = data.find(marker, start, start + PARSE_BYTES)
        return PARSE_BYTES if end < 0 else end + len(marker) - start

    def _parse(self, data: bytes) -> int:
        """Parse bytes; return the number of bytes consumed."""
        was_in_body = self._in_body
        if not was_in_body and self._timer is None:
            self._start_timer()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade()
            return int(upgrade.args[0])
        except httptools.HttpParserError:
            self._refuse(self._parser_error or ApiError(400, NOT_HTTP, reason="http"))
            return len(data)
        if not (was_in_body or self._in_body or self._timer is None):
            self._incomplete_bytes += len(data)
            if self._incomplete_bytes > self._limits.header_bytes:
                self._refuse(self._head_too_large())
        return len(data)

    def _ignore_upgrade(self) -> None:
        """Parse a head again without its upgrade headers: the parser stops after a head with an upgrade."""
        head, self._head_without_upgrade = self._head_without_upgrade, b""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(head)

    def _can_read(self) -> bool:
        """Return True if no bytes or responses are waiting beyond the limits."""
        return not self._buffer and len(self.pipeline) < MAX_PIPELINED and not self.flow.write_paused

    # --- callbacks of the parser ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Handle the start of a head."""
        self._head_bytes = self._header_count = self._incomplete_bytes = 0
        if self._timer is None:
            self._start_timer()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Handle a part of the path."""
        self._head_bytes += len(url)
        if self._head_bytes > self._limits.header_bytes:
            self._stop_parser(self._head_too_large())
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Handle a header."""
        self._head_bytes += len(name) + len(value) + HEADER_OVERHEAD_BYTES
        self._header_count += 1
        if self._head_bytes > self._limits.header_bytes or self._header_count > self._limits.headers:
            self._stop_parser(self._head_too_large())
        if not self._in_body:  # trailers must not be used as headers: RFC 9110, section 6.5.1
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Handle the end of a head: its request is served."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._stop_parser(ApiError(405, "CONNECT is not allowed here: this is not a proxy", reason="method"))
            self._head_without_upgrade = b"".join(self._lines_without_upgrade())
            return
        self._stop_timer()
        self._incomplete_bytes = 0
        super().on_headers_complete()  # raises an error for an invalid path
        self._in_body = True
        lengths = [int(value) for name, value in self.headers if name == b"content-length" and value.isdigit()]
        self._remaining_body = lengths[0] if lengths else None
        self._keep_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_body(self, body: bytes) -> None:
        """Handle a part of the body."""
        if self._remaining_body is not None:
            self._remaining_body -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Handle the end of a request."""
        if self._head_without_upgrade:
            return
        self._in_body = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keep_alive
        super().on_message_complete()

    def _lines_without_upgrade(self) -> Iterator[bytes]:
        """Yield the lines of the parsed head without its upgrade headers."""
        version = self.parser.get_http_version().encode("ascii")
        yield b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, version)
        for name, value in self.headers:
            if name == b"connection":
                options = [option for option in value.split(b",") if option.strip().lower() not in UPGRADE_HEADERS]
                yield b"connection: %s\r\n" % b",".join(options)
            elif name not in UPGRADE_HEADERS:
                yield b"%s: %s\r\n" % (name, value)
        yield b"\r\n"

    def _stop_parser(self, error: ApiError) -> None:
        """Stop the parser from one of its callbacks."""
        self._parser_error = error
        raise error

    def _head_too_large(self) -> ApiError:
        message = f"the head of a request may have {self._limits.header_bytes} bytes and {self._limits.headers} headers"
        return ApiError(431, message, reason="head")

    # --- timers and writing ---------------------------------------------------------------------------------------

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._limits.header_seconds, self._refuse_slow_head)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_slow_head(self) -> None:
        message = f"the head of the request did not arrive within {self._limits.header_seconds:g} seconds"
        self._refuse(ApiError(408, message, reason="slow_head"))

    def pause_writing(self) -> None:
        """Handle a full write buffer: stop reading from the client."""
        super().pause_writing()
        self.flow.pause_reading()
        if self._unread_timeout is not None:
            self._unread_timeout.start()
        self._slow_readers.add(self)

    def resume_writing(self) -> None:
        """Handle a write buffer that the client has read."""
        super().resume_writing()
        if self._unread_timeout is not None:
            self._unread_timeout.stop()
        if self._has_no_request:
            self._slow_readers.remove(self)
        if not self.transport.is_closing():
            self.flow.resume_reading()

    @property
    def held_bytes(self) -> int:
        """The memory of a response that the client has not read."""
        scope = {} if self._has_no_request else cast("dict[str, int]", self.cycle.scope)
        return self.transport.get_write_buffer_size() + scope.get(UNSENT_BYTES, 0)

    @property
    def read_bytes(self) -> int:
        """The number of bytes that were sent to the client so far."""
        return self._lingering.written_bytes - int(self.transport.get_write_buffer_size())

    def end_unread(self) -> None:
        """Close the connection, because the client reads its response too slowly."""
        error = ApiError(408, "the client reads its response too slowly", reason="slow_reader")
        self._on_refused(error, self.client[0] if self.client else "-")
        self.transport.abort()

    def on_response_complete(self) -> None:
        """Serve the next request, or close the connection with an error."""
        if self._final_error is not None and not self.pipeline:
            self._close_with(self._final_error)
            return
        if not self.flow.write_paused:
            self._slow_readers.remove(self)
        super().on_response_complete()
        self._idle_since = self.loop.time()
        if self._buffer and len(self.pipeline) < MAX_PIPELINED:
            self.loop.call_soon(self._continue_reading)

    def _continue_reading(self) -> None:
        self._parse_buffer()
        if not self.transport.is_closing() and self._final_error is None:
            self.flow.resume_reading()

    # --- errors that close the connection -------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP."""
        self._refuse(ApiError(400, msg, reason="http"))

    def refuse_incomplete_body(self) -> None:
        """Refuse a request whose body has not arrived completely, because the server ends."""
        if self._in_body:
            self._refuse(ApiError(503, "the server is shutting down", retry_after=1.0, reason="closed"))

    def _refuse(self, error: ApiError) -> None:
        """Send an error after the responses to earlier requests, and close the connection."""
        if self._final_error is not None:
            return
        self._final_error, self._buffer = error, b""
        self._stop_timer()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        self._on_refused(error, self.client[0] if self.client else "-")
        if self._in_body:
            self._abort_request()
        elif self._has_no_request:
            self._close_with(error)
        else:
            self.flow.pause_reading()

    @property
    def _has_no_request(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _abort_request(self) -> None:
        """Abort the last request, whose body is invalid: the error is its response, unless one has been started."""
        if self.pipeline:
            self.pipeline.popleft()
            return
        response_started = self.cycle.response_started
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        if response_started:
            self.transport.close()
        elif self._final_error is not None:
            self._close_with(self._final_error)

    def _close_with(self, error: ApiError) -> None:
        if not self.transport.is_closing():
            self.transport.write(_response_bytes(error_response(error)))
            self.transport.close()


def _response_bytes(response: Response) -> bytes:
    headers = [*response.raw_headers, (b"connection", b"close")]
    lines = [STATUS_LINE[response.status_code], *(name + b": " + value + b"\r\n" for name, value in headers)]
    return b"".join([*lines, b"\r\n", bytes(response.body)])
