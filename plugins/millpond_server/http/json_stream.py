"""Results of handlers as JSON: a slice at a time, so that others are served between them; large answers in parts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from millpond_server.http.array_encoding import Base64

JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
SLICE = 64  # items
SLICE_VALUES = 2**16  # numbers, fields and items; so many take some 2 ms
CONTAINERS = (list, dict, np.ndarray, Base64)
COUNTED = 4096  # items of a list that are counted one by one; of longer ones, the first stands for all
STREAMED_BYTES = 2**23  # of an answer; a larger one is sent while it is written, lest all of it is in memory


async def as_json(value: Any) -> bytes:
    """A value as JSON, arrays included.

    Args:
        value: What orjson can write; long lists may stand in objects, and these in others.
    """
    return b"".join([part async for part in slices(value)])


async def json_response(value: Any) -> Response:
    """A value as an answer: at once with its length, or in parts if it is large."""
    if not _is_long(value):
        return Response(_dumps(value), media_type="application/json")
    parts: list[bytes] = []
    size = 0
    rest = slices(value)
    async for part in rest:
        parts.append(part)
        size += len(part)
        if size > STREAMED_BYTES:
            return JsonStream(parts, rest)
    return Response(b"".join(parts), media_type="application/json")


class JsonStream(Response):
    """An answer whose JSON is written while it is sent: no faster than its client reads."""

    media_type = "application/json"

    def __init__(self, parts: Sequence[bytes], rest: AsyncIterator[bytes]) -> None:
        super().__init__()
        del self.headers["content-length"]  # which nobody knows yet
        self._parts = parts
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  as ASGI has it
        """Send it, until the client goes away."""
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b"".join(self._parts), "more_body": True})
            self._parts = ()
            async for part in self._rest:
                if leaving.done():
                    return
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def slices(value: Any) -> AsyncIterator[bytes]:
    """Yield a value as JSON in slices, between which others are served."""
    if not _is_long(value):
        yield _dumps(value)
    elif isinstance(value, dict):
        before = b"{"
        for name, item in value.items():
            yield before + as_text(name) + b":"
            async for part in slices(item):
                yield part
            before = b","
        yield b"}"
    else:
        async for part in _list(value):
            yield part


def as_text(name: object) -> bytes:
    """The name of a field; those that are no text are written as orjson writes them."""
    if isinstance(name, str):
        return orjson.dumps(name)
    return orjson.dumps({name: None}, option=JSON_OPTIONS).removeprefix(b"{").removesuffix(b":null}")


def _is_long(value: Any) -> bool:
    """True if a list, or one in an object, is to be written in slices."""
    if isinstance(value, dict):
        for item in value.values():  # noqa: SIM110  no generators here and below: this runs for each answer
            if isinstance(item, CONTAINERS) and _is_long(item):
                return True
        return False
    if isinstance(value, list):
        return len(value) > SLICE or _weight(value) > SLICE_VALUES
    return isinstance(value, np.ndarray) and value.ndim > 1 and value.size > SLICE_VALUES


def _weight(value: Any) -> int:
    """About how many numbers, fields and items a value holds."""
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
    return sum(map(_weight, value)) if len(value) <= COUNTED else len(value) * _weight(value[0])


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=_encoded, option=JSON_OPTIONS)


def _encoded(value: Any) -> Any:
    """What orjson cannot write by itself."""
    if isinstance(value, Base64):
        return str(value)
    raise TypeError


async def _list(items: Any) -> AsyncIterator[bytes]:
    """Yield the items of a list, or the rows of an array, in groups that take about the same time."""
    before, weight = b"[", 0
    group: list[Any] = []
    for item in items:
        own = _weight(item)
        if group and (len(group) == SLICE or weight + own > SLICE_VALUES):
            yield before + _dumps(group)[1:-1]
            await asyncio.sleep(0)
            before, group, weight = b",", [], 0
        if own > SLICE_VALUES:
            yield before
            async for part in slices(item):
                yield part
            await asyncio.sleep(0)
            before = b","
            continue
        group.append(item)
        weight += own
    if group:
        yield before + _dumps(group)[1:-1] + b"]"
    else:
        yield b"[]" if before == b"[" else b"]"
