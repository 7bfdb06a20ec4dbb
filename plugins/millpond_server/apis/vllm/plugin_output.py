"""Answers with what an IO processor plugin returned: JSON with markers for bytes, or the bytes themselves."""

import asyncio
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from millpond.pipeline.checks import unwritable
from millpond.pipeline.io_processor import IOProcessor
from millpond.types.json_values import as_array, as_bytes, tagged_array, to_json_values
from millpond.types.outputs import PoolingRequestOutput
from millpond_server.apis.openai.schemas import usage_of
from millpond_server.apis.vllm.schemas import PoolingRequest
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError
from millpond_server.http.json_stream import JSON_OPTIONS

RAW, JSON = "application/octet-stream", "application/json"
RAW_FORMATS = ("bytes", "bytes_only")
ORJSON_MAX_BYTES = 8  # of a number; orjson does not write longer ones


async def plugin_answer(output: object, request: PoolingRequest, call: Call, processor: IOProcessor[Any]) -> Response:
    """Return the output of an IO processor as JSON, or raw where the client asks for ``application/octet-stream``.

    Raises:
        ApiError: 406 if the client accepts raw bytes alone, and the output is more than bytes or an array.
        ComponentError: If JSON has no form for a part of the output; names the IO processor.
    """
    raw, json = accepted(call.headers.get("accept", ""))
    if request.encoding_format in RAW_FORMATS:
        raw, json = 1.0, 0.0
    if raw > json:
        response = await asyncio.to_thread(_raw, output)
        if response is not None:
            return response
        if json == 0:
            message = (
                f"the IO processor returned {type(output).__name__}, and {RAW} can hold bytes or one array: ask for "
                f"{JSON}, where bytes are base64"
            )
            raise ApiError(406, message, kind="NotAcceptableError", parameter="accept", reason="accept")
    head = {"request_id": call.id("pooling"), "created_at": call.created}
    tagged = request.encoding_format == "base64"
    try:
        body = await asyncio.to_thread(_json, head, output, tagged=tagged)  # base64 of an image takes a while
    except TypeError as error:  # orjson.JSONEncodeError is one
        raise unwritable(processor, error) from error
    return Response(body, media_type=JSON)


async def values_answer(
    outputs: Sequence[PoolingRequestOutput[Any]], call: Call, processor: IOProcessor[Any]
) -> Response:
    """Return the outputs of a task whose results are not arrays, each as JSON values.

    Raises:
        ComponentError: If JSON has no form for a part of an output; names the IO processor.
    """
    head = {"id": call.id("pooling"), "object": "list", "created": call.created, "model": call.served.name}
    head["usage"] = usage_of(sum(output.num_prompt_tokens for output in outputs))
    items = [{"index": place, "object": "pooling", "data": output.outputs} for place, output in enumerate(outputs)]
    try:
        body = await asyncio.to_thread(_json, head, items, tagged=False)
    except TypeError as error:  # orjson.JSONEncodeError is one
        raise unwritable(processor, error) from error
    return Response(body, media_type=JSON)


def accepted(header: str) -> tuple[float, float]:
    """Return how much a client wants raw bytes and JSON: the quality values of its ``Accept`` header."""
    qualities: dict[str, float] = {}
    for item in header.split(","):
        media_range, *parameters = (part.strip().lower() for part in item.split(";"))
        qualities[media_range] = next((_quality(part[2:]) for part in parameters if part.startswith("q=")), 1.0)
    anything = qualities.get("*/*", 0.0 if header.strip() else 1.0)
    of_applications = qualities.get("application/*", anything)
    return qualities.get(RAW, of_applications), qualities.get(JSON, of_applications)


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def _raw(output: object) -> Response | None:
    """The output as a body of its own: bytes as they are, an array as a file of NumPy; None for anything else."""
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
    """An array in a form that orjson writes by itself, where there is one."""
    if array.ndim == 0 or array.dtype.itemsize > ORJSON_MAX_BYTES:
        return array.tolist()
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
