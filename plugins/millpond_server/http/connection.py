"""Connection: uvicorn's HTTP/1.1 protocol with limits on what it lacks limits for: heads, idleness, and how many."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from millpond_server.http.errors import ApiError, answer
from millpond_server.http.transport import Flow, Lingering, Stall
from millpond_server.runtime.settings import Limits

IDLE = 1.0  # seconds after which an idle connection may be closed for another
FIELD = 4  # bytes around a header: a colon, a blank, the end of the line
MOST_PIPELINED = 16  # requests that wait behind the one being served; the bytes of further ones are not parsed
PIECE = 4096  # bytes that are parsed at a time where the end of a request is not known
HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
OFFERS = frozenset({b"upgrade", b"http2-settings"})  # headers by which clients offer another protocol
NOT_HTTP = "the connection sent something that is not an HTTP/1.1 request"


class Connection(HttpToolsProtocol):
    """One connection of a client.

    A head that is too large is answered 431, one that does not arrive in time 408, what is not HTTP 400, a connection
    too many 503; requests before it get their answers first, and the connection is closed afterwards. One that idles,
    or does not read its answers, is closed. Offers of another protocol, such as h2c, are ignored, as RFC 9110 allows.
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
        self._stall: Stall | None = None
        self._in_body = False
        self._idle_since = self.loop.time()
        self._body_left: int | None = None  # bytes; None where the body comes in chunks
        self._keeps_open = False  # what the client asked for; until its body is whole, an answer closes the connection
        self._head_bytes = 0  # of what was parsed
        self._head_count = 0
        self._unparsed = 0  # bytes of a head that is not whole yet
        self._rest = b""  # bytes of pipelined requests that are not parsed yet
        self._plain_head = b""  # a head that offered another protocol, without the offer
        self._reason: ApiError | None = None  # why a callback stopped the parser
        self._fault: ApiError | None = None  # what the connection ends with

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Take the connection, if there are not too many."""
        lingering = Lingering(transport, lambda: self._fault is not None or self._in_body, self._limits.unread_seconds)
        own = cast("asyncio.Transport", lingering)
        super().connection_made(own)
        self.flow = Flow(own, self._may_read)
        self._stall = Stall(own, self._limits.unread_seconds)
        if len(self.connections) > self._limits.connections and not self._make_room():
            message = f"more than {self._limits.connections} connections are open"
            self._refuse(ApiError(503, message, retry_after=1.0, reason="connections"))
            return
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _make_room(self) -> bool:
        """Close the connection that has been idle for longest, if there is one."""
        now = self.loop.time()
        idle = [each for each in self.connections if isinstance(each, Connection) and each.idle_seconds(now) > IDLE]
        if not idle:
            return False
        transport = max(idle, key=lambda each: each.idle_seconds(now)).transport
        if transport.get_write_buffer_size():  # its client does not read
            transport.abort()
        else:
            transport.close()
        return True

    def idle_seconds(self, now: float) -> float:
        """For how long no request was served, awaited or begun; 0.0 if one is, or the connection is being closed."""
        is_quiet = self._is_idle and self._timer is None and not self._in_body and not self.transport.is_closing()
        return now - self._idle_since if is_quiet else 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        self._rest = b""
        if self._stall is not None:
            self._stall.stop()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close, or let the answer to the last request close the connection."""
        self._keeps_open = False
        super().shutdown()

    # --- reading --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what has come, request by request, within the limits of a head and of pipelined requests."""
        if self.transport.is_closing() or self._fault is not None:
            return
        self._unset_keepalive_if_required()
        self._rest += data
        self._parse_rest()

    def _parse_rest(self) -> None:
        data, self._rest, start = self._rest, b"", 0
        while start < len(data) and self._fault is None and not self.transport.is_closing():
            if len(self.pipeline) >= MOST_PIPELINED and not self._in_body and self._timer is None:
                self._rest = data[start:]
                self.flow.pause_reading()
                return
            start += self._parse(data[start : start + self._size(data, start)])

    def _size(self, data: bytes, start: int) -> int:
        """The number of bytes to parse next, so that few more than one request are completed by them."""
        if self._in_body and self._body_left:
            return self._body_left
        mark = LAST_CHUNK if self._in_body else HEAD_END
        end = data.find(mark, start, start + PIECE)
        return PIECE if end < 0 else end + len(mark) - start

    def _parse(self, piece: bytes) -> int:
        """Parse a piece; returns how many bytes of it were read."""
        was_in_body = self._in_body
        if not was_in_body and self._timer is None:
            self._start_timer()
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_offer()
            return int(offer.args[0])
        except httptools.HttpParserError:
            self._refuse(self._reason or ApiError(400, NOT_HTTP, reason="http"))
            return len(piece)
        if not (was_in_body or self._in_body or self._timer is None):
            self._unparsed += len(piece)
            if self._unparsed > self._limits.header_bytes:
                self._refuse(self._too_large())
        return len(piece)

    def _ignore_offer(self) -> None:
        """Parse a head anew, without the offer of another protocol: the parser leaves off behind such a head."""
        head, self._plain_head = self._plain_head, b""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(head)

    def _may_read(self) -> bool:
        """Whether the connection holds little enough to read on."""
        return not self._rest and len(self.pipeline) < MOST_PIPELINED and not self.flow.write_paused

    # --- callbacks of the parser ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head_bytes = self._head_count = self._unparsed = 0
        if self._timer is None:
            self._start_timer()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the path."""
        self._head_bytes += len(url)
        if self._head_bytes > self._limits.header_bytes:
            self._stop(self._too_large())
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._head_bytes += len(name) + len(value) + FIELD
        self._head_count += 1
        if self._head_bytes > self._limits.header_bytes or self._head_count > self._limits.headers:
            self._stop(self._too_large())
        if not self._in_body:  # else it is a trailer, which RFC 9110 (section 6.5.1) does not let pass for a header
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: its request is served."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._stop(ApiError(405, "CONNECT is not allowed here: this is not a proxy", reason="method"))
            self._plain_head = b"".join(self._without_offer())
            return
        self._stop_timer()
        self._unparsed = 0
        super().on_headers_complete()  # fails on a path that is none
        self._in_body = True
        lengths = [int(value) for name, value in self.headers if name == b"content-length" and value.isdigit()]
        self._body_left = lengths[0] if lengths else None
        self._keeps_open, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._body_left is not None:
            self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        if self._plain_head:
            return
        self._in_body = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_open
        super().on_message_complete()

    def _without_offer(self) -> Iterator[bytes]:
        """The head that was parsed, without what offers another protocol."""
        version = self.parser.get_http_version().encode("ascii")
        yield b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, version)
        for name, value in self.headers:
            if name == b"connection":
                kept = [word for word in value.split(b",") if word.strip().lower() not in OFFERS]
                yield b"connection: %s\r\n" % b",".join(kept)
            elif name not in OFFERS:
                yield b"%s: %s\r\n" % (name, value)
        yield b"\r\n"

    def _stop(self, reason: ApiError) -> None:
        """Stop the parser from one of its callbacks."""
        self._reason = reason
        raise reason

    def _too_large(self) -> ApiError:
        message = f"the head of a request may have {self._limits.header_bytes} bytes and {self._limits.headers} headers"
        return ApiError(431, message, reason="head")

    # --- timers and writing ---------------------------------------------------------------------------------------

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._limits.header_seconds, self._too_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        message = f"the head of the request did not arrive within {self._limits.header_seconds:g} seconds"
        self._refuse(ApiError(408, message, reason="slow_head"))

    def pause_writing(self) -> None:
        """More is to be sent than the client reads: nothing more is read from it."""
        super().pause_writing()
        self.flow.pause_reading()
        if self._stall is not None:
            self._stall.watch()

    def resume_writing(self) -> None:
        """The client has read most of what was sent."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.stop()
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """A request is answered: the next is served, or the connection ends with the error that follows it."""
        if self._fault is not None and not self.pipeline:
            self._end(self._fault)
            return
        super().on_response_complete()
        self._idle_since = self.loop.time()
        if self._rest and len(self.pipeline) < MOST_PIPELINED:
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._parse_rest()
        if not self.transport.is_closing() and self._fault is None:
            self.flow.resume_reading()

    # --- the end --------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(ApiError(400, msg, reason="http"))

    def _refuse(self, error: ApiError) -> None:
        """Answer what follows the requests that were taken with an error, after their answers, and close."""
        if self._fault is not None:
            return
        self._fault, self._rest = error, b""
        self._stop_timer()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        self._on_refused(error, self.client[0] if self.client else "-")
        if self._in_body:
            self._give_up()
        elif self._is_idle:
            self._end(error)
        else:
            self.flow.pause_reading()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _give_up(self) -> None:
        """End the last request, whose body is broken: the error is its answer, unless one is under way."""
        if self.pipeline:
            self.pipeline.popleft()
            return
        has_answer = self.cycle.response_started
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        if has_answer:
            self.transport.close()
        elif self._fault is not None:
            self._end(self._fault)

    def _end(self, error: ApiError) -> None:
        if not self.transport.is_closing():
            self.transport.write(_raw(answer(error)))
            self.transport.close()


def _raw(response: Response) -> bytes:
    headers = [*response.raw_headers, (b"connection", b"close")]
    lines = [STATUS_LINE[response.status_code], *(name + b": " + value + b"\r\n" for name, value in headers)]
    return b"".join([*lines, b"\r\n", bytes(response.body)])
