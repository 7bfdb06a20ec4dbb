"""From the bytes of a request to its validated body: size, media type, JSON, fields, each with its own error."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel, RootModel, ValidationError
from starlette.types import Message, Receive, Scope

from millpond_server.http.errors import ApiError, shortened, shown
from millpond_server.runtime.settings import Limits

PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,40}")  # names of fields that a header can tell of
MOST_TOLD = 16
MOST_FIELDS = 1000
MOST_FAULTS = 20  # validation errors that an answer lists
LONGEST_PLACE = 200  # characters of the path to a field
DEEPEST = 64  # levels of lists and objects in a body
NESTED = frozenset({list, dict})
OPENS = (b"[", b"{")
AT_ONCE = 8  # times the largest body: all that may be read and served at a time
SMALL = 2**16  # bytes of a body that is not counted while it is served: so many clients there are not
HELD = "millpond.held"
# In text they count too, and rightly so: each of them is a token.
STRUCTURE = (b"[", b"{", b":")


class ClientGoneError(Exception):
    """The client has closed the connection before its request was whole."""


class Intake:
    """The bodies that are being read, and the large ones that are being served.

    Attributes:
        held: Their bytes: a thousand clients that each send a large body, slowly or all at once, must not fill the
            memory.
    """

    def __init__(self) -> None:
        self.held = 0

    def take(self, size: int, limits: Limits) -> None:
        """Count bytes that have come.

        Raises:
            ApiError: 503 if there are too many of them.
        """
        self.held += size
        if self.held > AT_ONCE * limits.body_bytes:
            raise ApiError(503, "too much is being sent at present", retry_after=1.0, reason="intake")

    def keep(self, scope: Scope, size: int, limits: Limits) -> None:
        """Count a body that was read, until ``let_go``: what it holds stays in memory while its request waits.

        Raises:
            ApiError: As ``take``.
        """
        if size > SMALL:
            scope[HELD] = size
            self.take(size, limits)

    def keep_more(self, scope: Scope, size: int, limits: Limits) -> None:
        """Count a part of a body that its handler reads, until ``let_go``.

        Raises:
            ApiError: As ``take``.
        """
        scope[HELD] = scope.get(HELD, 0) + size
        self.take(size, limits)

    def let_go(self, scope: Scope) -> None:
        """Forget the body of a request that has ended."""
        self.held -= scope.pop(HELD, 0)


async def read_body(scope: Scope, receive: Receive, limits: Limits, intake: Intake) -> bytes | bytearray:
    """The body of a request.

    Raises:
        ApiError: 413 if it is too large, 408 if it does not arrive in time, 503 if too much is being sent.
        ClientGoneError: If the client goes away.
    """
    refuse_stated_length(scope, limits)
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _collect(receive, limits, intake)
    except TimeoutError:
        message = f"the body did not arrive within {limits.body_seconds:g} seconds"
        raise ApiError(408, message, reason="slow_body") from None


def refuse_stated_length(scope: Scope, limits: Limits) -> None:
    """Refuse a body by the length that its head states.

    Raises:
        ApiError: 413 if it is too large.
    """
    for name, stated in scope["headers"]:
        if name == b"content-length" and stated.isdigit() and _exceeds(stated, limits.body_bytes):
            raise too_large(limits)


async def _collect(receive: Receive, limits: Limits, intake: Intake) -> bytes | bytearray:
    body = bytearray()
    taken = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk: bytes = message.get("body", b"")
            if len(body) + len(chunk) > limits.body_bytes:
                raise too_large(limits)
            if not message.get("more_body", False) and not body:
                return chunk
            taken += len(chunk)
            intake.take(len(chunk), limits)
            body += chunk
            if not message.get("more_body", False):
                return body
    finally:
        intake.held -= taken


def _exceeds(digits: bytes, most: int) -> bool:
    """Compare a number of any length; Python refuses to read one of thousands of digits."""
    significant = digits.lstrip(b"0")
    return len(significant) > len(str(most)) or int(significant or b"0") > most


def too_large(limits: Limits) -> ApiError:
    """Return the error of a body over the limit."""
    return ApiError(413, f"the body is over the limit of {limits.body_bytes} bytes", reason="body")


def check_media_type(headers: Mapping[str, str]) -> None:
    """Refuse a body that does not say that it is JSON.

    Raises:
        ApiError: 400, as vLLM does.
    """
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ApiError(400, "Unsupported Media Type: Only 'application/json' is allowed", parameter="content-type")


def parse_json(body: bytes | bytearray, limits: Limits) -> Any:
    """The JSON value of a body.

    Raises:
        ApiError: 400 if it is not JSON, holds surrogates or numbers beyond 64 bits, or nests too deep. 413 if it holds
            more lists, objects and fields than a request may hold tokens: parsing millions of them would block the
            event loop for seconds.
    """
    if len(body) > limits.tokens and sum(map(body.count, STRUCTURE)) > limits.tokens:
        message = f"the body holds more lists, objects and fields than the {limits.tokens} tokens of a request"
        raise ApiError(413, message, parameter="body", reason="structure")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not valid JSON: {error.msg} at byte {error.pos}", parameter="body") from None
    if isinstance(value, dict) and len(value) > MOST_FIELDS:
        message = f"the body has {len(value)} fields; a request has {MOST_FIELDS} at most"
        raise ApiError(400, message, parameter="body", reason="structure")
    if sum(map(body.count, OPENS)) > DEEPEST and _is_deep(value):
        message = f"the body nests lists and objects more than {DEEPEST} levels deep"
        raise ApiError(400, message, parameter="body", reason="structure")
    return value


def _is_deep(value: Any) -> bool:
    """Walk the lists and objects of a value level by level: what is too deep cannot be walked by recursion."""
    level = [value] if type(value) in NESTED else []
    for _ in range(DEEPEST):
        items = [each.values() if isinstance(each, dict) else each for each in level]
        level = [one for each in items if not NESTED.isdisjoint(map(type, each)) for one in each if type(one) in NESTED]
        if not level:
            return False
    return True


def validate(model: type[BaseModel], value: Any) -> BaseModel:
    """The body as a model; a null is taken as not given.

    Raises:
        ApiError: 400, with all that does not fit.
    """
    if isinstance(value, dict) and None in value.values():
        value = {name: item for name, item in value.items() if item is not None}
    try:
        return model.model_validate(value)
    except ValidationError as error:
        count, faults = error.error_count(), error.errors(include_url=False, include_context=False)[:MOST_FAULTS]
        lines = [f"{count} validation error{'s' if count > 1 else ''}:", *map(_line, faults)]
        if count > len(faults):
            lines.append(f"  and {count - len(faults)} more")
        place = shortened(".".join(["body", *map(str, faults[0]["loc"])]), LONGEST_PLACE)
        raise ApiError(400, "\n".join(lines), kind="Bad Request", parameter=place, reason="schema") from None


def unread(request: Any, value: Any) -> tuple[str, ...]:
    """The fields of a body that have no effect, most of them unknown, as far as a header can tell of them."""
    body = request.root if isinstance(request, RootModel) else request
    if not isinstance(body, BaseModel) or not isinstance(value, dict):
        return ()
    fields, idle = type(body).model_fields, getattr(body, "idle", ())
    if not idle and value.keys() <= fields.keys():
        return ()
    names = []
    for name in value:
        is_read = name == "model" or name in fields
        if is_read and not (name in idle and getattr(body, name) == fields[name].default):
            continue
        if PLAIN.fullmatch(name):
            names.append(name)
    return tuple(names[:MOST_TOLD])


def _line(fault: Mapping[str, Any]) -> str:
    place = shortened(".".join(map(str, fault["loc"])), LONGEST_PLACE) or "body"
    return f"  {place}: {fault['msg']} (type={fault['type']}, input={shown(fault['input'])})"


class BodyReader:
    """Passes the messages of a request on to its handler, and holds them to size and time.

    Its bytes count as held until the request ends: a handler may keep them.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: Limits, intake: Intake) -> None:
        refuse_stated_length(scope, limits)
        self._scope = scope
        self._receive = receive
        self._limits = limits
        self._intake = intake
        self._size = 0
        self._until: float | None = None
        self._has_ended = asyncio.Event()

    async def receive(self) -> Message:
        """Return the next message; what the handler's ``Request`` reads.

        Raises:
            ApiError: 413 if the body is too large, 408 if it does not arrive in time, 503 if too much is being sent.
            ClientGoneError: If the client goes away before its body is whole.
        """
        if self._has_ended.is_set():
            return await self._receive()
        loop = asyncio.get_running_loop()
        if self._until is None:
            self._until = loop.time() + self._limits.body_seconds
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            text = f"the body did not arrive within {self._limits.body_seconds:g} seconds"
            raise ApiError(408, text, reason="slow_body") from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        self._take(len(message.get("body", b"")))
        if not message.get("more_body", False):
            self._has_ended.set()
        return message

    async def after_body(self) -> Message:
        """Return the next message once the handler has read the body; what tells that the client has gone."""
        await self._has_ended.wait()
        return await self._receive()

    def _take(self, size: int) -> None:
        self._size += size
        if self._size > self._limits.body_bytes:
            raise too_large(self._limits)
        self._intake.keep_more(self._scope, size, self._limits)
