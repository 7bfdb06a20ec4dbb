"""Responses with the output of an IO processor plugin: JSON with tagged bytes and arrays, or raw bytes."""

import asyncio
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from millpond.pipeline.checks import unwritable
from millpond.pipeline.io_processor import IOProcessor
from millpond.types.outputs import PoolingRequestOutput
from millpond_recipes.json_values import as_array, as_bytes, tagged_array, to_json_values
from millpond_server.apis.openai.schemas import usage_of
from millpond_server.apis.vllm.schemas import PoolingRequest
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError
from millpond_server.http.json_stream import JSON_OPTIONS

RAW, JSON = "application/octet-stream", "application/json"
RAW_FORMATS = ("bytes", "bytes_only")
ORJSON_MAX_ITEM_BYTES = 8  # orjson cannot serialize longer numbers


async def plugin_response(output: object, request: PoolingRequest, call: Call, processor: IOProcessor[Any]) -> Response:
    """Return the output of an IO processor as JSON, or raw where the client asks for ``application/octet-stream``.

    Raises:
        ApiError: 406 if the client accepts only raw bytes, and the output is not bytes or an array.
        ComponentError: If a part of the output cannot be serialized as JSON.
    """
    raw_quality, json_quality = accept_qualities(call.headers.get("accept", ""))
    if request.encoding_format in RAW_FORMATS:
        raw_quality, json_quality = 1.0, 0.0
    if raw_quality > json_quality:
        response = await asyncio.to_thread(_raw_response, output)
        if response is not None:
            return response
        if json_quality == 0:
            message = (
                f"the IO processor returned {type(output).__name__}, but {RAW} requires bytes or one array: request "
                f"{JSON}, which contains bytes as base64"
            )
            raise ApiError(406, message, kind="NotAcceptableError", parameter="accept", reason="accept")
    head = {"request_id": call.id("pooling"), "created_at": call.created}
    tagged = request.encoding_format == "base64"
    try:
        body = await asyncio.to_thread(_json, head, output, tagged=tagged)  # base64 of an image takes a while
    except TypeError as error:  # includes orjson.JSONEncodeError
        raise unwritable(processor, error) from error
    return Response(body, media_type=JSON)


async def values_response(
    outputs: Sequence[PoolingRequestOutput[Any]], call: Call, processor: IOProcessor[Any]
) -> Response:
    """Return the outputs of a task whose results are not arrays, as JSON values.

    Raises:
        ComponentError: If a part of an output cannot be serialized as JSON.
    """
    head = {"id": call.id("pooling"), "object": "list", "created": call.created, "model": call.served.name}
    head["usage"] = usage_of(sum(output.num_prompt_tokens for output in outputs))
    items = [{"index": index, "object": "pooling", "data": output.outputs} for index, output in enumerate(outputs)]
    try:
        body = await asyncio.to_thread(_json, head, items, tagged=False)
    except TypeError as error:  # includes orjson.JSONEncodeError
        raise unwritable(processor, error) from error
    return Response(body, media_type=JSON)


def accept_qualities(header: str) -> tuple[float, float]:
    """Return the quality values of raw bytes and JSON in an ``Accept`` header."""
    qualities: dict[str, float] = {}
    for item in header.split(","):
        media_range, *parameters = (part.strip().lower() for part in item.split(";"))
        qualities[media_range] = next((_quality(part[2:]) for part in parameters if part.startswith("q=")), 1.0)
    any_quality = qualities.get("*/*", 0.0 if header.strip() else 1.0)
    application_quality = qualities.get("application/*", any_quality)
    return qualities.get(RAW, application_quality), qualities.get(JSON, application_quality)


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def _raw_response(output: object) -> Response | None:
    """Return bytes unchanged, or an array as a NumPy file; None for other outputs."""
    content = as_bytes(output)
    if content is None:
        array = as_array(output)
        if array is None or array.dtype.hasobject:
            return None
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        content = file.getvalue()
    return Response(content, media_type=RAW)


def _json(head: dict[str, Any], output: object, *, tagged: bool) -> bytes:
    data = to_json_values(output, array=tagged_array if tagged else _array)
    return orjson.dumps({**head, "data": data}, option=JSON_OPTIONS)


def _array(array: Any) -> object:
    """Return an array in a form that orjson can serialize."""
    if array.ndim == 0 or array.dtype.itemsize > ORJSON_MAX_ITEM_BYTES:
        return array.tolist()
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
