"""Handlers of health checks, readiness, load and metrics."""

from typing import Any

from starlette.responses import Response

import millpond
from millpond import AsyncLLM
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError


async def live(_: Any, __: AsyncLLM) -> Response:
    """Respond with 200 while the process is running."""
    return Response()


async def health(_: Any, __: AsyncLLM, call: Call) -> Response:
    """Respond with 200 if all engines are running; otherwise with 503 and the unhealthy models."""
    unhealthy = {model.name: "its engine crashed" for model in call.models.served if not model.llm.engine.is_alive}
    unhealthy |= call.state.unhealthy
    if unhealthy:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in unhealthy.items())
        raise ApiError(503, f"some engines are unhealthy: {reasons}", kind="EngineDeadError", reason="dead")
    return Response()


async def ready(_: Any, llm: AsyncLLM, call: Call) -> Response:
    """Respond with 200 if all engines are running and the server is not shutting down; otherwise with 503."""
    if call.state.draining:
        raise ApiError(503, "the server is shutting down", retry_after=1.0, reason="draining")
    return await health(_, llm, call)


async def load(_: Any, __: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return the number of running requests, and the queue of each model."""
    return {
        "server_load": call.state.running - 1,  # without this request
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
    """Return the metrics in Prometheus's text format."""
    return Response(call.state.metrics.text(), media_type="text/plain; version=0.0.4")


async def version(_: Any, __: AsyncLLM) -> dict[str, str]:
    """Return the version of Millpond."""
    return {"version": millpond.__version__}
