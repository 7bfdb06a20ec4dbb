"""Whether the server lives: its process, its engines; and which version it is."""

from typing import Any

from starlette.responses import Response

import millpond
from millpond import AsyncLLM
from millpond_server.call import Call
from millpond_server.errors import ApiError


async def live(_: Any, __: AsyncLLM) -> Response:
    """The process answers."""
    return Response()


async def health(_: Any, __: AsyncLLM, call: Call) -> Response:
    """Every engine turns; else 503, which names those that do not."""
    dead = [model.name for model in call.models.served if not model.llm.engine.is_alive]
    if dead:
        raise ApiError(503, f"the engine of {', '.join(dead)} has stopped", kind="EngineDeadError", reason="dead")
    return Response()


async def version(_: Any, __: AsyncLLM) -> dict[str, str]:
    """The version of Millpond."""
    return {"version": millpond.__version__}
