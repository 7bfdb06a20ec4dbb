"""build_server: the one assembly of a server, for the command, for tests and for programs that embed it."""

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
from millpond_server.http.errors import ApiError
from millpond_server.http.keys import Keys
from millpond_server.http.middleware import api_middleware, metrics_middleware, wrapped
from millpond_server.http.tls import tls_options
from millpond_server.observability.log_queue import in_background
from millpond_server.runtime.application import build_application, build_metrics_application
from millpond_server.runtime.ending import exit_now, tell_of_hanging
from millpond_server.runtime.engine_monitor import EngineMonitor
from millpond_server.runtime.http_server import LAST_BYTES, HttpServer
from millpond_server.runtime.models import Models
from millpond_server.runtime.settings import Settings
from millpond_server.runtime.sockets import Sockets
from millpond_server.runtime.state import State
from millpond_server.runtime.warm_up import warm_up

if TYPE_CHECKING:
    from millpond_server.observability.tracing import Tracing

BACKLOG = 2048
FILES = 512  # descriptors beside those of connections


def build_server(
    settings: Settings, models: Models, *, registry: Registry | None = None, traces: "Tracing | None" = None
) -> "Server":
    """Assemble a server: its state, its routes, and the middleware around them.

    Args:
        settings: How it is run.
        models: The models that it serves.
        registry: The plugins whose routes it may mount; by default those of this process.
        traces: Traces requests.

    Raises:
        ValueError: If a route's record is invalid, a plugin of ``settings.routes`` provides none, or the file with the
            API keys holds none.
    """
    registry = registry or get_plugin_manager().registry
    keys = Keys(settings.api_keys, settings.api_key_file)
    state = State(settings, models, traces)
    application = build_application(registry, state)
    return Server(
        state,
        app=wrapped(application, api_middleware(settings, state, keys, application.access)),
        metrics_app=wrapped(build_metrics_application(registry, state), metrics_middleware(settings, state)),
    )


class Server:
    """A server that is assembled, and does not listen yet.

    Attributes:
        state: Its parts.
        app: The ASGI application, with its middleware.
        metrics_app: The application of the port for metrics.
    """

    def __init__(self, state: State, app: ASGIApp, metrics_app: ASGIApp) -> None:
        self.state = state
        self.app = app
        self.metrics_app = metrics_app

    def run(self, sockets: Sockets, on_start: Callable[[], None]) -> int:
        """Serve on sockets until a signal asks for the end.

        Args:
            sockets: The sockets; the file of a Unix socket is removed at the end.
            on_start: Called once it listens.

        Returns:
            The exit code. Where threads are still at work, or hang, the process is ended instead.
        """
        state = self.state
        _allow_files(state.settings.limits.connections)
        state.metrics.watch_log(lambda: state.log.lost)

        def settled() -> None:
            gc.collect()
            gc.freeze()  # what is loaded stays: looking through it anew took a fifth of the event loop's time
            on_start()

        loops = self._configured(self.app).get_loop_factory()
        with in_background(state.log.queue), asyncio.Runner(loop_factory=loops) as runner:
            served = runner.run(self.serve(sockets, settled))
            if state.settings.uds is not None:
                Path(state.settings.uds).unlink(missing_ok=True)
            if state.traces is not None:
                state.traces.close()
            if tell_of_hanging(LAST_BYTES) or served.has_left or state.unhealthy:
                state.log.close()
                exit_now(served.exit_code)
        return served.exit_code

    async def serve(self, sockets: Sockets, on_start: Callable[[], None]) -> HttpServer:
        """Serve on the running event loop, and return uvicorn's server, which has ended.

        The models are warmed up first, and closed at the end.
        """
        state = self.state
        for model in state.models.served:
            await warm_up(model.llm)
        server = HttpServer(
            self._configured(self.app, **tls_options(state.settings)),
            self._configured(self.metrics_app),
            state,
            state.settings.limits,
            on_start,
        )
        state.end = server.end
        watch = asyncio.ensure_future(EngineMonitor(state).run())
        try:
            await server.serve_sockets(sockets)
        finally:
            server.deadline.lift()
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        if not (server.has_left or state.unhealthy):
            for model in state.models.served:
                await model.llm.close(finish=False)
        return server

    def _configured(self, app: ASGIApp, **further: Any) -> uvicorn.Config:
        """Return the settings of uvicorn, with a protocol that has limits where httptools is installed."""
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
            **further,
        )
        logging.getLogger("uvicorn").setLevel(logging.ERROR)  # invalid requests of clients are no events of the server
        config.load()
        with contextlib.suppress(ImportError):
            from millpond_server.http.connection import Connection  # noqa: PLC0415  httptools is not everywhere

            protocol: Any = partial(Connection, limits=limits, on_refused=self._note_refused)
            config.http_protocol_class = protocol
        return config

    def _note_refused(self, error: ApiError, client: str) -> None:
        self.state.metrics.refused(error.reason)
        line = {"method": "-", "path": "-", "status": error.status, "client": client, "reason": error.reason}
        self.state.log.write(line)


def _allow_files(connections: int) -> None:
    """Raise the number of files that may be open to what the connections need, as far as the system allows it."""
    try:
        import resource  # noqa: PLC0415  not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + FILES if hard == resource.RLIM_INFINITY else min(connections + FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
