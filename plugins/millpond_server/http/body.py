"""Request bodies: read within limits of size, time and memory, parsed as JSON, and validated."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args

import orjson
from pydantic import BaseModel, RootModel, ValidationError
from starlette.types import Message, Receive, Scope

from millpond_server.http.errors import ApiError, short_repr, shortened
from millpond_server.runtime.settings import Limits

HEADER_SAFE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")  # names of fields that can be listed in a header
MAX_IGNORED_NAMES = 16  # listed in a header
MAX_FIELDS = 1000
MAX_REPORTED_ERRORS = 20
MAX_PATH_CHARS = 200  # for the path of a field
MAX_SUGGESTIONS = 5
MAX_COMPARED_CHARS = 64  # longer names are compared by their beginning
MIN_SIMILARITY = 0.75  # between an unknown name and the suggested one
MAX_DEPTH = 64  # levels of lists and objects in a body
CONTAINERS = frozenset({list, dict})
CHECKS = ("value_error", "assertion_error")  # pydantic's types of errors that validators raise
OPENING_BRACKETS = (b"[", b"{")
STRUCTURE = (b"[", b"{", b":")  # also counted inside texts, where each of them is a token
MAX_COMMAS_PER_TOKEN = 4  # one per token id; texts that are truncated may have more than one per remaining token
BUDGET_FACTOR = 8  # times the maximum size of a body: the memory for all bodies together
MIN_HELD_BYTES = 2**16  # smaller bodies are not counted while their requests are served
HELD_BYTES = "millpond.held"  # the key of the scope
MIN_UPLOAD_RATE = 2**16  # bytes per second


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class BodyMemoryBudget:
    """Limits the memory of all bodies that are being read or served.

    Without it, a thousand clients that each send a large body, slowly or all at once, could fill the memory.

    Args:
        limits: The limits of the server.

    Attributes:
        held: The memory in use, in bytes.
    """

    def __init__(self, limits: Limits) -> None:
        self.held = 0
        self._max_bytes = BUDGET_FACTOR * limits.body_bytes

    def add(self, size: int) -> None:
        """Count received bytes.

        Raises:
            ApiError: 503 if the budget is exceeded.
        """
        self.held += size
        if self.held > self._max_bytes:
            raise ApiError(503, "too much is being sent at present", retry_after=1.0, reason="intake")

    def hold(self, scope: Scope, size: int) -> None:
        """Count bytes until the request ends, because its handler may keep them.

        Raises:
            ApiError: 503 if the budget is exceeded.
        """
        scope[HELD_BYTES] = scope.get(HELD_BYTES, 0) + size
        self.add(size)

    def release(self, scope: Scope) -> None:
        """Release the memory of a request that has ended."""
        self.held -= scope.pop(HELD_BYTES, 0)


async def read_body(scope: Scope, receive: Receive, limits: Limits, memory: BodyMemoryBudget) -> bytes | bytearray:
    """Read the body of a request. A large one counts as memory until the request ends.

    Raises:
        ApiError: 413 if it is too large, 408 if it does not arrive in time, 503 if the memory budget is exceeded.
        ClientGoneError: If the client disconnects.
    """
    check_content_length(scope, limits)
    try:
        async with asyncio.timeout(limits.body_seconds):
            body = await _collect(receive, limits, memory)
    except TimeoutError:
        message = f"the body did not arrive within {limits.body_seconds:g} seconds"
        raise ApiError(408, message, reason="slow_body") from None
    if len(body) > MIN_HELD_BYTES:
        memory.hold(scope, len(body))
    return body


def check_content_length(scope: Scope, limits: Limits) -> None:
    """Refuse a body by its Content-Length header.

    Raises:
        ApiError: 413 if it is too large.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and _exceeds(value, limits.body_bytes):
            raise too_large(limits)


async def _collect(receive: Receive, limits: Limits, memory: BodyMemoryBudget) -> bytes | bytearray:
    body = bytearray()
    counted = 0
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
            counted += len(chunk)
            memory.add(len(chunk))
            body += chunk
            if not message.get("more_body", False):
                return body
    finally:
        memory.held -= counted


def _exceeds(digits: bytes, maximum: int) -> bool:
    """Compare a number of any length. Python refuses to parse numbers with thousands of digits."""
    significant = digits.lstrip(b"0")
    return len(significant) > len(str(maximum)) or int(significant or b"0") > maximum


def too_large(limits: Limits) -> ApiError:
    """Return the error for a body over the limit."""
    return ApiError(413, f"the body is over the limit of {limits.body_bytes} bytes", reason="body")


def check_media_type(headers: Mapping[str, str]) -> None:
    """Refuse a body whose Content-Type is not JSON.

    Raises:
        ApiError: 400, like vLLM.
    """
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ApiError(400, "Unsupported Media Type: Only 'application/json' is allowed", parameter="content-type")


def check_encoding(headers: Mapping[str, str]) -> None:
    """Refuse a compressed body, which is not decompressed: a small one could fill the memory.

    Raises:
        ApiError: 415.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        message = f"the content encoding {short_repr(encoding)} is not supported: send the body uncompressed"
        raise ApiError(415, message, parameter="content-encoding", reason="encoding")


def parse_json(body: bytes | bytearray, limits: Limits) -> Any:
    """Return the JSON value of a body.

    Raises:
        ApiError: 400 if it is not JSON, contains surrogates or numbers beyond 64 bits, or is nested too deeply. 413 if
            it contains more lists, objects and fields, or numbers, than requests need: parsing millions of them would
            block the event loop for seconds.
    """
    if has_too_many_values(body, limits.tokens):
        values = "lists, objects and fields, or numbers,"
        message = f"the body contains more {values} than the {limits.tokens} tokens of a request"
        raise ApiError(413, message, parameter="body", reason="structure")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not valid JSON: {error.msg} at byte {error.pos}", parameter="body") from None
    if isinstance(value, dict) and len(value) > MAX_FIELDS:
        message = f"the body has {len(value)} fields; the maximum is {MAX_FIELDS}"
        raise ApiError(400, message, parameter="body", reason="structure")
    if sum(map(body.count, OPENING_BRACKETS)) > MAX_DEPTH and _is_too_deep(value):
        message = f"the body nests lists and objects more than {MAX_DEPTH} levels deep"
        raise ApiError(400, message, parameter="body", reason="structure")
    return value


def has_too_many_values(body: bytes | bytearray, maximum: int) -> bool:
    """Return True if a JSON text has more lists, objects and fields, or more numbers, than requests need.

    Brackets, colons and commas in its texts count, too.

    Args:
        body: The JSON text.
        maximum: The maximum number of tokens.
    """
    if len(body) <= maximum:
        return False
    return sum(map(body.count, STRUCTURE)) > maximum or body.count(b",") > MAX_COMMAS_PER_TOKEN * maximum


def _is_too_deep(value: Any) -> bool:
    """Check the depth of a value level by level: recursion would fail on what it is to find."""
    level = [value] if type(value) in CONTAINERS else []
    for _ in range(MAX_DEPTH):
        groups = [parent.values() if isinstance(parent, dict) else parent for parent in level]
        level = [
            item
            for group in groups
            if not CONTAINERS.isdisjoint(map(type, group))
            for item in group
            if type(item) in CONTAINERS
        ]
        if not level:
            return False
    return True


def validate(model: type[BaseModel], value: Any) -> BaseModel:
    """Return a JSON value as a model; fields with the value null count as missing.

    Raises:
        ApiError: 400, with the validation errors.
    """
    if isinstance(value, dict) and None in value.values():
        value = {name: item for name, item in value.items() if item is not None}
    try:
        return model.model_validate(value)
    except ValidationError as error:
        count = error.error_count()
        errors = error.errors(include_url=False, include_context=False)[:MAX_REPORTED_ERRORS]
        variant = None
        if issubclass(model, RootModel):  # the body of one of several APIs: the client does not know the API's tag
            variant = str(errors[0]["loc"][0])
            errors = [{**it, "loc": it["loc"][1:]} for it in errors]
        lines = [f"{count} validation error{'s' if count > 1 else ''}:", *map(_line, errors)]
        if count > len(errors):
            lines.append(f"  and {count - len(errors)} more")
        lines += _suggestions(model, value)
        path = shortened(".".join(["body", *map(str, errors[0]["loc"])]), MAX_PATH_CHARS)
        failure = ApiError(400, "\n".join(lines), kind="Bad Request", parameter=path, reason="schema")
        failure.variant = variant
        raise failure from None


def ignored_fields(request: Any, value: Any) -> tuple[str, ...]:
    """Return the names of a body's fields without effect, most of them unknown, that a header can contain."""
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
        if HEADER_SAFE_NAME.fullmatch(name):
            names.append(name)
    return tuple(names[:MAX_IGNORED_NAMES])


def _line(error: Mapping[str, Any]) -> str:
    path = shortened(".".join(map(str, error["loc"])), MAX_PATH_CHARS) or "body"
    if error["type"] in CHECKS:  # the message of a schema in this project, which pydantic puts after a prefix
        return f"  {path}: {error['msg'].partition(', ')[2]}"
    return f"  {path}: {error['msg']} (type={error['type']}, input={short_repr(error['input'])})"


def _suggestions(model: type[BaseModel], value: Any) -> Iterator[str]:
    """Yield a line for each unknown field of a body whose name is similar to that of a missing one."""
    if not isinstance(value, dict):
        return
    known = _names_of(model)
    missing = known.keys() - {name.casefold() for name in known.values() if name in value}
    unknown = (name for name in value if name not in known.values())
    count = 0
    for name in unknown:
        if close := get_close_matches(name[:MAX_COMPARED_CHARS].casefold(), missing, n=1, cutoff=MIN_SIMILARITY):
            yield f"  {shortened(name, MAX_COMPARED_CHARS)}: unknown field, did you mean {known[close[0]]!r}?"
            count += 1
        if count == MAX_SUGGESTIONS:
            return


@cache
def _names_of(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the names of a body's fields by their lower-case forms; a body of several APIs has the fields of all."""
    if not issubclass(model, RootModel):
        return {name.casefold(): name for name in model.model_fields}
    names: dict[str, str] = {}
    remaining = [model.model_fields["root"].annotation]
    while remaining:
        part = remaining.pop()
        if isinstance(part, type) and issubclass(part, BaseModel):
            names |= _names_of(part)
        remaining += get_args(part)
    return names


class BodyReader:
    """Passes the messages of a request to its handler, within the limits of size, time and memory.

    The bytes count as memory until the request ends, because the handler may keep them. Those of an upload do not, and
    they may take longer: the time that they need at `MIN_UPLOAD_RATE`.

    Args:
        scope: The ASGI scope of the request.
        receive: The ASGI receive callable.
        limits: The limits of the server; for an upload with the maximum size of a file.
        memory: The memory of all bodies; None for an upload.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: Limits, memory: BodyMemoryBudget | None) -> None:
        check_content_length(scope, limits)
        self._scope = scope
        self._receive = receive
        self._limits = limits
        self._memory = memory
        self._size = 0
        self._deadline: float | None = None
        self._has_ended = asyncio.Event()

    async def receive(self) -> Message:
        """Return the next message, for the handler's ``Request``.

        Raises:
            ApiError: 413 if the body is too large, 408 if it does not arrive in time, 503 if the memory budget is
                exceeded.
            ClientGoneError: If the client disconnects before its body is complete.
        """
        if self._has_ended.is_set():
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._limits.body_seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            text = f"the body did not arrive within {self._limits.body_seconds:g} seconds"
            if self._memory is None:
                text = f"{text}, and one more for each {MIN_UPLOAD_RATE} bytes"
            raise ApiError(408, text, reason="slow_body") from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        self._count(len(message.get("body", b"")))
        if not message.get("more_body", False):
            self._has_ended.set()
        return message

    async def after_body(self) -> Message:
        """Return the next message after the handler has read the body: a disconnect of the client."""
        await self._has_ended.wait()
        return await self._receive()

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._limits.body_bytes:
            raise too_large(self._limits)
        if self._memory is not None:
            self._memory.hold(self._scope, size)
        elif self._deadline is not None:
            self._deadline += size / MIN_UPLOAD_RATE
