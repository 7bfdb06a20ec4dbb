"""JSON responses: serialized in slices, so that other requests are served in between; large ones are streamed."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from millpond_server.http.array_encoding import Base64

JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
SLICE_ITEMS = 64
SLICE_VALUES = 2**16  # numbers, fields and items; serializing them takes about 2 ms
CONTAINERS = (list, dict, np.ndarray, Base64)
MAX_WEIGHED_ITEMS = 4096  # the weight of a longer list is estimated from its first item
BYTES_PER_VALUE = 4
UNSENT_BYTES = "millpond.unsent"  # the key of the scope: the memory of a response that is not serialized yet
STREAM_ABOVE_BYTES = 2**23  # larger responses are sent while they are serialized, to bound the memory


async def as_json(value: Any) -> bytes:
    """Return a value as JSON, arrays included.

    Args:
        value: A value that orjson can serialize; long lists may be nested in objects.
    """
    return b"".join([part async for part in slices(value)])


async def json_response(value: Any) -> Response:
    """Return a value as a response with a length, or as a stream if it is large."""
    if not _is_long(value):
        return Response(_dumps(value), media_type="application/json")
    parts: list[bytes] = []
    size = 0
    remaining = slices(value)
    async for part in remaining:
        parts.append(part)
        size += len(part)
        if size > STREAM_ABOVE_BYTES:
            return JsonStream(parts, remaining, size + BYTES_PER_VALUE * _total_weight(value))
    return Response(b"".join(parts), media_type="application/json")


class JsonStream(Response):
    """A response that is serialized while it is sent, no faster than its client reads.

    Args:
        parts: The first parts of the JSON text.
        remaining: The other parts.
        held_bytes: The memory of the parts, and of the values that the other parts are made from.
    """

    media_type = "application/json"

    def __init__(self, parts: Iterable[bytes], remaining: AsyncIterator[bytes], held_bytes: int = 0) -> None:
        super().__init__()
        del self.headers["content-length"]  # not known yet
        self._parts = deque(parts)
        self._remaining = remaining
        self._held_bytes = held_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response until the client disconnects."""
        disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))
        scope[UNSENT_BYTES] = self._held_bytes
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while self._parts:  # one by one, because the transport copies what it cannot send at once
                if disconnect.done():
                    return
                await send({"type": "http.response.body", "body": self._parts.popleft(), "more_body": True})
            async for part in self._remaining:
                if disconnect.done():
                    return
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            disconnect.cancel()
            del scope[UNSENT_BYTES]


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def slices(value: Any) -> AsyncIterator[bytes]:
    """Yield a value as JSON in slices; the event loop can serve other requests in between."""
    if not _is_long(value):
        yield _dumps(value)
    elif isinstance(value, dict):
        separator = b"{"
        for name, item in value.items():
            yield separator + field_name(name) + b":"
            async for part in slices(item):
                yield part
            separator = b","
        yield b"}"
    else:
        async for part in _list_slices(value):
            yield part


def field_name(name: object) -> bytes:
    """Return the name of a field as JSON; names that are not texts are converted like orjson does."""
    if isinstance(name, str):
        return orjson.dumps(name)
    return orjson.dumps({name: None}, option=JSON_OPTIONS).removeprefix(b"{").removesuffix(b":null}")


def _is_long(value: Any) -> bool:
    """Return True if a list, or a list in an object, is to be serialized in slices."""
    if isinstance(value, dict):
        for item in value.values():  # noqa: SIM110  no generators here and below: this runs for each response
            if isinstance(item, CONTAINERS) and _is_long(item):
                return True
        return False
    if isinstance(value, list):
        return len(value) > SLICE_ITEMS or _weight(value) > SLICE_VALUES
    return isinstance(value, np.ndarray) and value.ndim > 1 and value.size > SLICE_VALUES


def _weight(value: Any) -> int:
    """Return the approximate number of numbers, fields and items in a value."""
    if isinstance(value, np.ndarray):
        return int(value.size)
    if isinstance(value, Base64):
        return int(value.array.size)
    if isinstance(value, dict):
        weight = len(value)
        for item in value.values():
            if isinstance(item, CONTAINERS):
                weight += _weight(item)
        return weight
    if not isinstance(value, list) or not value:
        return 0
    if not isinstance(value[0], CONTAINERS):
        return len(value)
    return sum(map(_weight, value)) if len(value) <= MAX_WEIGHED_ITEMS else len(value) * _weight(value[0])


def _total_weight(value: Any) -> int:
    """Return the approximate number of values in a list, or in the lists of an object."""
    return sum(map(_weight, value.values())) if isinstance(value, dict) else _weight(value)


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=_default, option=JSON_OPTIONS)


def _default(value: Any) -> Any:
    """Convert a value that orjson cannot serialize."""
    if isinstance(value, Base64):
        return str(value)
    raise TypeError


async def _list_slices(items: Any) -> AsyncIterator[bytes]:
    """Yield the items of a list, or the rows of an array, in groups that take about the same time."""
    separator, group_weight = b"[", 0
    group: list[Any] = []
    for item in items:
        weight = _weight(item)
        if group and (len(group) == SLICE_ITEMS or group_weight + weight > SLICE_VALUES):
            yield separator + _dumps(group)[1:-1]
            await asyncio.sleep(0)
            separator, group, group_weight = b",", [], 0
        if weight > SLICE_VALUES:
            yield separator
            async for part in slices(item):
                yield part
            await asyncio.sleep(0)
            separator = b","
            continue
        group.append(item)
        group_weight += weight
    if group:
        yield separator + _dumps(group)[1:-1] + b"]"
    else:
        yield b"[]" if separator == b"[" else b"]"
