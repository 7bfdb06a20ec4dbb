"""build_server: assembles a server for the command, for tests, and for programs that embed it."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp

from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.registry import Registry
from millpond_server.batches.observer import BatchObserver
from millpond_server.batches.service import BatchService, batch_limits
from millpond_server.http.errors import ApiError
from millpond_server.http.keys import ApiKeys
from millpond_server.http.middleware import api_middleware, metrics_middleware, wrapped
from millpond_server.http.tls import tls_options
from millpond_server.observability.batch_metrics import BatchMetrics
from millpond_server.observability.chunk_lines import showing_chunk_lines
from millpond_server.observability.log_queue import in_background
from millpond_server.runtime.application import Application, build_application, build_metrics_application
from millpond_server.runtime.ending import exit_now, log_hanging_threads
from millpond_server.runtime.engine_monitor import EngineMonitor
from millpond_server.runtime.http_server import FLUSH_TIMEOUT_S, HttpServer
from millpond_server.runtime.models import Models
from millpond_server.runtime.settings import Settings, validated
from millpond_server.runtime.sockets import Sockets
from millpond_server.runtime.state import State
from millpond_server.runtime.warm_up import warm_up

if TYPE_CHECKING:
    from millpond_server.observability.tracing import Tracing

BACKLOG = 2048
RESERVED_FILES = 512  # open files in addition to the connections


def build_server(
    settings: Settings, models: Models, *, registry: Registry | None = None, tracing: "Tracing | None" = None
) -> "Server":
    """Assemble a server: its state, routes and middleware.

    Args:
        settings: The settings of the server.
        models: The models to serve.
        registry: The registry of the plugins whose routes can be mounted (default: that of this process).
        tracing: The tracing of requests, if it is enabled.

    Raises:
        ValueError: If a route is invalid, a plugin of ``settings.routes`` provides no routes, or the file with the API
            keys contains no key.
    """
    settings = validated(settings)
    registry = registry or get_plugin_manager().registry
    keys = ApiKeys(settings.api_keys, settings.api_key_file)
    for model in models.served:
        if model.llm.cache is not None:
            model.llm.cache.requires_owner = keys.are_required
    state = State(settings, models, tracing)
    if settings.batch_dir is not None:
        limits = batch_limits(settings)
        state.batches = BatchService(settings.batch_dir, limits, shares_cache=settings.cache_shared)
        batch_metrics = BatchMetrics(state.metrics.registry, state.batches.counts)
        observer = BatchObserver(state.metrics, batch_metrics, state.log)
        state.batches.batches.on_status, state.batches.on_request = observer.on_status, observer.on_request
    application = build_application(registry, state)
    if state.batches is not None:
        state.batches.endpoints = application.batch_endpoints
    return Server(
        state,
        application,
        app=wrapped(application, api_middleware(settings, state, keys, application.access)),
        metrics_app=wrapped(build_metrics_application(registry, state), metrics_middleware(settings, state)),
    )


class Server:
    """An assembled server that is not listening yet.

    Attributes:
        state: The state of the server.
        application: The ASGI application of the API, without middleware, for the requests of batches.
        app: The same with its middleware.
        metrics_app: The ASGI application of the metrics port, with its middleware.
    """

    def __init__(self, state: State, application: Application, app: ASGIApp, metrics_app: ASGIApp) -> None:
        self.state = state
        self.application = application
        self.app = app
        self.metrics_app = metrics_app

    def run(self, sockets: Sockets, on_start: Callable[[], None]) -> int:
        """Serve until a signal.

        Args:
            sockets: The sockets; the file of a Unix socket is removed at the end.
            on_start: Called once the server is listening.

        Returns:
            The exit code. If threads hang or are still running, the process exits instead.
        """
        state = self.state
        _raise_file_limit(state.settings.limits.connections)
        state.metrics.watch_log(lambda: state.log.lost)

        def freeze_and_start() -> None:
            gc.collect()
            gc.freeze()  # scanning loaded modules and models again took a fifth of the event loop's time
            on_start()

        loop_factory = self._uvicorn_config(self.app).get_loop_factory()
        chunk_lines = showing_chunk_lines() if state.log.is_on else contextlib.nullcontext()
        with in_background(state.log.queue), chunk_lines, asyncio.Runner(loop_factory=loop_factory) as runner:
            http_server = runner.run(self.serve(sockets, freeze_and_start))
            if state.settings.uds is not None:
                Path(state.settings.uds).unlink(missing_ok=True)
            if state.tracing is not None:
                state.tracing.close()
            if log_hanging_threads(FLUSH_TIMEOUT_S) or http_server.has_unfinished or state.unhealthy:
                state.log.close()
                exit_now(http_server.exit_code)
        return http_server.exit_code

    async def serve(self, sockets: Sockets, on_start: Callable[[], None]) -> HttpServer:
        """Serve on the running event loop until a signal, and return the HTTP server.

        The models are warmed up first and closed at the end.
        """
        state = self.state
        for model in state.models.served:
            await warm_up(model.llm)
        server = HttpServer(
            self._uvicorn_config(self.app, **tls_options(state.settings)),
            self._uvicorn_config(self.metrics_app),
            state,
            state.settings.limits,
            on_start,
        )
        state.end = server.end
        background: list[asyncio.Future[Any]] = [asyncio.ensure_future(EngineMonitor(state).run())]
        background += [asyncio.ensure_future(model.space()) for model in state.models.served]  # reads all weights
        if state.batches is not None:
            background.append(
                asyncio.ensure_future(state.batches.run(self.application, is_busy=lambda: state.running > 0))
            )
        try:
            await server.serve_sockets(sockets)
        finally:
            server.deadline.cancel()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
        if not (server.has_unfinished or state.unhealthy):
            for model in state.models.served:
                await model.llm.close(finish=False)
        return server

    def _uvicorn_config(self, app: ASGIApp, **tls: Any) -> uvicorn.Config:
        """Return uvicorn's configuration; its protocol enforces the limits if httptools is installed."""
        limits = self.state.settings.limits
        config = uvicorn.Config(
            app,
            backlog=BACKLOG,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=limits.idle_seconds,
            h11_max_incomplete_event_size=limits.header_bytes,
            **tls,
        )
        logging.getLogger("uvicorn").setLevel(logging.ERROR)  # invalid requests are not errors of the server
        config.load()
        with contextlib.suppress(ImportError):
            from millpond_server.http.connection import Connection  # noqa: PLC0415  httptools is not available on Windows

            protocol: Any = partial(
                Connection, limits=limits, slow_readers=self.state.slow_readers, on_refused=self._record_refused
            )
            config.http_protocol_class = protocol
        return config

    def _record_refused(self, error: ApiError, client: str) -> None:
        self.state.metrics.record_refused(error.reason)
        fields = {"method": "-", "path": "-", "status": error.status, "client": client, "reason": error.reason}
        self.state.log.write(fields)


def _raise_file_limit(connections: int) -> None:
    """Raise the limit of open files to what the connections need, as far as the system permits."""
    try:
        import resource  # noqa: PLC0415  not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + RESERVED_FILES
    limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
