"""What a handler returned as JSON: long lists a slice at a time, so that others are served between them."""

import asyncio
from typing import Any

import orjson

JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
SLICE = 64  # items; as many vectors take some 2 ms


async def as_json(value: Any) -> bytes:
    """A value as JSON, arrays included.

    Args:
        value: What orjson can write; long lists may stand in objects, and these in others.
    """
    if not _is_long(value):
        return orjson.dumps(value, option=JSON_OPTIONS)
    if isinstance(value, list):
        return await _list(value)
    parts = [as_text(name) + b":" + await as_json(item) for name, item in value.items()]
    return b"{" + b",".join(parts) + b"}"


def as_text(name: object) -> bytes:
    """The name of a field; those that are no text are written as orjson writes them."""
    if isinstance(name, str):
        return orjson.dumps(name)
    return orjson.dumps({name: None}, option=JSON_OPTIONS).removeprefix(b"{").removesuffix(b":null}")


def _is_long(value: Any) -> bool:
    """Whether a list is to be written in slices, or one that stands in an object."""
    if isinstance(value, dict):
        return any(_is_long(item) for item in value.values())
    return isinstance(value, list) and len(value) > SLICE


async def _list(items: list[Any]) -> bytes:
    parts: list[bytes] = []
    for start in range(0, len(items), SLICE):
        if start:
            await asyncio.sleep(0)
        parts.append(orjson.dumps(items[start : start + SLICE], option=JSON_OPTIONS)[1:-1])
    return b"[" + b",".join(parts) + b"]"
