"""Health of the server: its process, its engines, its readiness and its load."""

from typing import Any

from starlette.responses import Response

import millpond
from millpond import AsyncLLM
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError


async def live(_: Any, __: AsyncLLM) -> Response:
    """The process answers."""
    return Response()


async def health(_: Any, __: AsyncLLM, call: Call) -> Response:
    """Every engine turns; else 503, which names those that do not."""
    unhealthy = {model.name: "it has died" for model in call.models.served if not model.llm.engine.is_alive}
    unhealthy |= call.state.unhealthy
    if unhealthy:
        told = "; ".join(f"{name}: {why}" for name, why in unhealthy.items())
        raise ApiError(503, f"not every engine works: {told}", kind="EngineDeadError", reason="dead")
    return Response()


async def ready(_: Any, llm: AsyncLLM, call: Call) -> Response:
    """Every engine turns, and the server was not told to stop; else 503."""
    if call.state.draining:
        raise ApiError(503, "the server is shutting down", retry_after=1.0, reason="draining")
    return await health(_, llm, call)


async def load(_: Any, __: AsyncLLM, call: Call) -> dict[str, Any]:
    """How many requests are served at present, and what waits for each model."""
    return {
        "server_load": call.state.running - 1,  # this one is none
        "models": {
            model.name: {
                "queue_tokens": model.llm.engine.waiting_tokens,
                "queue_requests": model.llm.engine.pending,
                "expected_wait_seconds": round(model.llm.engine.expected_wait(), 3),
                "tokens_per_second": round(model.llm.engine.engine.throughput.rate, 1),
            }
            for model in call.models.served
        },
    }


async def metrics(_: Any, __: AsyncLLM, call: Call) -> Response:
    """What is measured, as Prometheus reads it."""
    return Response(call.state.metrics.text(), media_type="text/plain; version=0.0.4")


async def version(_: Any, __: AsyncLLM) -> dict[str, str]:
    """The version of Millpond."""
    return {"version": millpond.__version__}
