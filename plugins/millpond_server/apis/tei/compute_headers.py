"""Response headers of text-embeddings-inference with the times, characters and tokens of a request."""

from collections.abc import Awaitable, Callable
from functools import wraps
from time import perf_counter
from typing import Any

from starlette.responses import Response

from millpond import AsyncLLM
from millpond.pipeline.call_stats import CallStats, current_stats
from millpond_server.http.call import Call
from millpond_server.http.json_stream import json_response

Handler = Callable[[Any, AsyncLLM, Call], Awaitable[Any]]


def with_compute_headers(num_chars: Callable[[Any], int]) -> Callable[[Handler], Handler]:
    """Add the headers to the responses of a handler; times are in whole milliseconds.

    Args:
        num_chars: Returns the number of characters of a request.
    """

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        async def handle(request: Any, llm: AsyncLLM, call: Call) -> Response:
            start, stats = perf_counter(), current_stats.get()
            token = None
            if stats is None:  # without the access log's middleware
                stats = CallStats()
                token = current_stats.set(stats)
            try:
                result = await handler(request, llm, call)
            finally:
                if token is not None:
                    current_stats.reset(token)
            response = result if isinstance(result, Response) else await json_response(result)
            response.headers.update(_headers(llm, stats, num_chars(request), perf_counter() - start))
            return response

        return handle

    return decorate


def _headers(llm: AsyncLLM, stats: CallStats, num_chars: int, seconds: float) -> dict[str, str]:
    total = _milliseconds(seconds)
    return {
        "x-compute-type": llm.pipeline.ctx.device.type,
        "x-compute-time": total,
        "x-compute-characters": str(num_chars),
        "x-compute-tokens": str(stats.tokens),
        "x-total-time": total,
        "x-tokenization-time": _milliseconds(stats.tokenise_seconds),
        "x-queue-time": _milliseconds(stats.queue_seconds),
        "x-inference-time": _milliseconds(stats.compute_seconds),
    }


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


def count_chars(value: Any) -> int:
    """Return the number of characters of a text or nested lists of texts; a token id counts as one."""
    if isinstance(value, str):
        return len(value)
    return sum(map(count_chars, value)) if isinstance(value, list) else 1
