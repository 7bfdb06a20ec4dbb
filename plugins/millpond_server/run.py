"""Running the application: a socket, uvicorn on it, until a signal asks for the end; then the engines are closed."""

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from millpond_server.models import Models
from millpond_server.settings import Settings

BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell so."""
        await super().startup(sockets)
        if self.started:
            self._tell()


def bind(settings: Settings) -> tuple[socket.socket, str]:
    """The socket that is listened on, and the address as clients write it.

    Raises:
        OSError: If the address is taken, or is none.
    """
    if settings.uds is not None:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(settings.uds)
        return listening, f"unix:{settings.uds}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((settings.host, settings.port))
    host = f"[{settings.host}]" if family == socket.AF_INET6 else settings.host
    return listening, f"http://{host}:{listening.getsockname()[1]}"


def run(
    app: ASGIApp, models: Models, settings: Settings, listening: socket.socket, started: Callable[[], None]
) -> None:
    """Serve on a socket until a signal asks for the end.

    Args:
        app: The application.
        models: Its models, which are closed at the end.
        settings: How it is run.
        listening: The socket.
        started: Called once it listens.
    """
    config = uvicorn.Config(
        app,
        backlog=BACKLOG,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=settings.limits.drain_seconds,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(Server(config, started), models, listening))


async def _serve(server: Server, models: Models, listening: socket.socket) -> None:
    try:
        await server.serve(sockets=[listening])
    finally:
        for model in models.served:
            await model.llm.close(finish=False)
