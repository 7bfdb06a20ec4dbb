"""From the bytes of a request to its validated body: size, media type, JSON, fields, each with its own error."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel, RootModel, ValidationError
from starlette.types import Receive, Scope

from millpond_server.errors import ApiError
from millpond_server.settings import Limits

SHOWN = 120  # characters of a value that does not fit, in the error that tells of it
PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,40}")  # names of fields that a header can tell of
MOST_TOLD = 16
MOST_FIELDS = 1000
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

    def let_go(self, scope: Scope) -> None:
        """Forget the body of a request that has ended."""
        self.held -= scope.pop(HELD, 0)


async def read_body(scope: Scope, receive: Receive, limits: Limits, intake: Intake) -> bytes | bytearray:
    """The body of a request.

    Raises:
        ApiError: 413 if it is too large, 408 if it does not arrive in time, 503 if too much is being sent.
        ClientGoneError: If the client goes away.
    """
    stated = next((value for name, value in scope["headers"] if name == b"content-length"), None)
    if stated is not None and stated.isdigit() and int(stated) > limits.body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _collect(receive, limits, intake)
    except TimeoutError:
        message = f"the body did not arrive within {limits.body_seconds:g} seconds"
        raise ApiError(408, message, reason="slow_body") from None


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
                raise _too_large(limits)
            if not message.get("more_body", False) and not body:
                return chunk
            taken += len(chunk)
            intake.take(len(chunk), limits)
            body += chunk
            if not message.get("more_body", False):
                return body
    finally:
        intake.held -= taken


def _too_large(limits: Limits) -> ApiError:
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
        ApiError: 400 if it is none; of surrogates, numbers beyond 64 bits and nesting too deep as well. 413 if it holds
            more lists, objects and fields than a request may hold tokens: millions of them would take seconds to make,
            in which nobody else is served.
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
    return value


def validate(model: type[BaseModel], value: Any) -> BaseModel:
    """The body as a model; a null is taken as not given.

    Raises:
        ApiError: 400, with all that does not fit.
    """
    if isinstance(value, dict):
        value = {name: item for name, item in value.items() if item is not None}
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        lines = [f"{len(faults)} validation error{'s' if len(faults) > 1 else ''}:", *map(_line, faults)]
        place = ".".join(["body", *map(str, faults[0]["loc"])])
        raise ApiError(400, "\n".join(lines), kind="Bad Request", parameter=place, reason="schema") from None


def unread(request: Any, value: Any) -> tuple[str, ...]:
    """The fields of a body that its model does not know, as far as a header can tell of them."""
    body = request.root if isinstance(request, RootModel) else request
    if not isinstance(body, BaseModel) or not isinstance(value, dict):
        return ()
    known = {*type(body).model_fields, "model"}
    return tuple(name for name in value if name not in known and PLAIN.fullmatch(name))[:MOST_TOLD]


def _line(fault: Mapping[str, Any]) -> str:
    shown = repr(fault["input"])
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
    place = ".".join(map(str, fault["loc"])) or "body"
    return f"  {place}: {fault['msg']} (type={fault['type']}, input={shown})"
