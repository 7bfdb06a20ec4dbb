"""HostedApplication: models with all routes of the server, in the HTTP server of a different program."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from millpond import AsyncLLM
from millpond.types.errors import EngineError
from millpond_command.clusters import ServedModels
from millpond_server.runtime.engine_monitor import EngineMonitor
from millpond_server.runtime.models import Models, ServedModel
from millpond_server.runtime.server import build_server
from millpond_server.runtime.settings import validated
from millpond_server.runtime.warm_up import warm_up

DEFAULT_SETTINGS: Mapping[str, Any] = {
    "log_format": "off",  # the other server has its own access log
    "host": "0.0.0.0",  # noqa: S104  its address is unknown, so requests may use any host name
}


class HostedApplication:
    """An ASGI application with the routes, limits and API keys of ``millpond serve``, and without its sockets.

    Limits on connections and time-outs of reading are those of the other server. The lifespan event "startup" warms the
    models up and monitors their engines; "shutdown" closes them.

    Args:
        models: The models, which are loaded now.

    Raises:
        ModelNotFoundError: If no source has a model.
        ValueError: If a setting is invalid, or two models have one name.
    """

    def __init__(self, models: ServedModels) -> None:
        served = Models(
            [
                ServedModel(names=tuple(names), llm=AsyncLLM(path, **models.arguments))
                for path, names in models.names.items()
            ],
            elsewhere=models.elsewhere,
        )
        self._server = build_server(validated({**DEFAULT_SETTINGS, **models.settings}), served)
        self._state = self._server.state
        self._state.end = self._record_crash
        self._is_crashed = False
        self._monitoring: asyncio.Future[None] | None = None

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """The models."""
        return self._state.models.served

    @property
    def max_body_bytes(self) -> int:
        """The maximum size of a request body."""
        return self._state.settings.limits.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan of the other server."""
        if scope["type"] != "lifespan":
            await self._server.app(_without_root_path(scope), receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def start(self) -> None:
        """Warm the models up, and monitor their engines."""
        for model in self.models:
            await warm_up(model.llm)
        self._monitoring = asyncio.ensure_future(EngineMonitor(self._state).run())

    async def close(self) -> None:
        """Close the engines, unless one of them hangs: that would not end."""
        if self._monitoring is not None:
            self._monitoring.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._monitoring
        if not self._state.unhealthy:
            for model in self.models:
                await model.llm.close(finish=False)

    def check_health(self) -> None:
        """Raise an error if an engine crashed or hangs.

        Raises:
            EngineError: Names the models and the reasons.
        """
        unhealthy = dict(self._state.unhealthy)
        if self._is_crashed or unhealthy:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in unhealthy.items()) or "an engine crashed"
            message = f"some engines are unhealthy: {reasons}"
            raise EngineError(message)

    def _record_crash(self, exit_code: int) -> None:
        """Record that the server would end its process; the other server replaces it after `check_health`."""
        self._is_crashed = bool(exit_code)


def _without_root_path(scope: Scope) -> Scope:
    """Return a scope whose path is that of the route, without the prefix below which the other server serves it."""
    prefix = scope.get("root_path", "")
    if not prefix:
        return scope
    return {**scope, "path": scope["path"].removeprefix(prefix) or "/", "root_path": ""}
