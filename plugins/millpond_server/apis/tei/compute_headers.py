"""The headers in which text-embeddings-inference tells what a request took: times, characters and tokens."""

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


def with_compute_headers(characters: Callable[[Any], int]) -> Callable[[Handler], Handler]:
    """Have the answers of a handler tell what they took, in whole milliseconds.

    Args:
        characters: How many characters a request holds.
    """

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        async def answered(request: Any, llm: AsyncLLM, call: Call) -> Response:
            began, stats = perf_counter(), current_stats.get()
            token = None
            if stats is None:  # nobody else measures this request
                stats = CallStats()
                token = current_stats.set(stats)
            try:
                result = await handler(request, llm, call)
            finally:
                if token is not None:
                    current_stats.reset(token)
            response = result if isinstance(result, Response) else await json_response(result)
            response.headers.update(_headers(llm, stats, characters(request), perf_counter() - began))
            return response

        return answered

    return decorate


def _headers(llm: AsyncLLM, stats: CallStats, characters: int, seconds: float) -> dict[str, str]:
    total = _milliseconds(seconds)
    return {
        "x-compute-type": llm.pipeline.ctx.device.type,
        "x-compute-time": total,
        "x-compute-characters": str(characters),
        "x-compute-tokens": str(stats.tokens),
        "x-total-time": total,
        "x-tokenization-time": _milliseconds(stats.tokenise_seconds),
        "x-queue-time": _milliseconds(stats.queue_seconds),
        "x-inference-time": _milliseconds(stats.compute_seconds),
    }


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


def characters_in(value: Any) -> int:
    """How many characters texts hold, in lists or alone; a token id counts as one."""
    if isinstance(value, str):
        return len(value)
    return sum(map(characters_in, value)) if isinstance(value, list) else 1
