"""Running the application: a socket, uvicorn on it, until a signal asks for the end; then what runs is finished."""

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from millpond.types.errors import MillpondError
from millpond_server.http.errors import ApiError
from millpond_server.http.tls import HANDSHAKE, Certificate
from millpond_server.observability.aside import Aside
from millpond_server.observability.log_queue import in_background
from millpond_server.runtime.ending import SLACK, Deadline, exit_now, tell_of_hanging
from millpond_server.runtime.engine_monitor import Supervisor
from millpond_server.runtime.listening import admit_no_more
from millpond_server.runtime.settings import Limits, Settings
from millpond_server.runtime.state import State
from millpond_server.runtime.warm_up import warm_up

logger = logging.getLogger(__name__)
BACKLOG = 2048
SIGNALLED = 128  # and the signal's number: what a program exits with that a signal has ended
LAST_BYTES = 1.0  # seconds for answers to reach their clients
STEP = 0.05  # seconds
HANDSHAKES = 0.25  # seconds
FIRST_REQUEST = 2.0  # seconds for a request on a connection that was made just before the end
LOOKS = 100  # ticks of uvicorn, of 0.1 seconds each, between two looks at the files of a certificate
FILES = 512  # descriptors beside those of connections


class AddressInUseError(MillpondError):
    """Another program listens on the address that was asked for."""

    hint = "--port N takes another port, --port 0 one that is free"


class Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens, and ends without losing what it has accepted.

    The first signal ends it once what runs is finished; a second one ends it at once.

    Attributes:
        exit_code: What the process shall exit with.
        deadline: Ends the process where the event loop itself hangs.
        has_left: Whether something still ran when it ended.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: State,
        limits: Limits,
        started: Callable[[], None],
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(config)
        self._certificate = certificate
        # What is handed to the event loop with each socket.
        self._encryption: dict[str, Any] = (
            {} if certificate is None else {"ssl": certificate.context, "ssl_handshake_timeout": HANDSHAKE}
        )
        self.exit_code = 0
        self.deadline = Deadline()
        self.has_left = False
        self._state = state
        self._limits = limits
        self._tell = started
        self._end_at = float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell so."""
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(self._connection, sock=listening, backlog=self.config.backlog, **self._encryption)
            for listening in sockets or []
        ]
        self.started = True
        self._tell()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is uvicorn's
        """Take a signal."""
        if self._state.draining:
            self.end(SIGNALLED + sig)
            self.deadline.set(SLACK, self.exit_code)
            return
        self._state.draining = True
        self._end_at = time.monotonic() + self._limits.drain_delay
        self.exit_code = SIGNALLED + sig if sig == signal.SIGINT else 0
        self.deadline.set(self._limits.drain_delay + self._limits.drain_seconds + SLACK, self.exit_code)

    def end(self, exit_code: int) -> None:
        """End at once: what still runs is answered 503."""
        self._state.draining = self.should_exit = self.force_exit = True
        self.exit_code = exit_code

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave off."""
        if self._certificate is not None and counter % LOOKS == LOOKS - 1:
            self._certificate.refresh()
        self.should_exit |= time.monotonic() >= self._end_at
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, finish what runs, and answer 503 to what is left."""
        await self._stop_listening(sockets or [])
        await self._until(lambda: not self.server_state.connections, 10 * STEP)  # some have just sent a request
        await self._until(lambda: all(map(_has_asked, self.server_state.connections)), FIRST_REQUEST)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        end = time.monotonic() + self._limits.drain_seconds
        await self._until(lambda: not self.server_state.tasks, self._limits.drain_seconds)
        left = len(self.server_state.tasks)
        closing = asyncio.gather(*(_close(model.llm.engine) for model in self._state.models.served))
        rest = max(end - time.monotonic(), LAST_BYTES)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(closing), LAST_BYTES if left or self.force_exit else rest)
        self.has_left = left > 0 or not closing.done()
        self.force_exit = False  # these have their answers, which are still to be sent
        await self._until(lambda: not self.server_state.tasks, LAST_BYTES)
        for task in self.server_state.tasks:
            task.cancel()
        await self._until(lambda: not self.server_state.connections, LAST_BYTES)
        if left:
            logger.warning("%d requests were not finished in time", left)

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Listen no more, but take those who have connected already: closing the socket would cut them off."""
        own = [listening.dup() for listening in sockets]
        for listening in own:
            admit_no_more(listening)
        for server in self.servers:
            server.close()
        for listening in sockets:
            listening.close()
        # Until who was let in before is known here; those that agree on their encryption are so a little later.
        await asyncio.sleep(HANDSHAKES if self._encryption else STEP)
        waiting = [connected for listening in own for connected in _accepted(listening)]
        await asyncio.gather(*map(self._take, waiting))

    async def _take(self, connected: socket.socket) -> None:
        """Serve who has connected; one that does not agree on its encryption is not."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(
                loop.connect_accepted_socket(self._connection, connected, **self._encryption), FIRST_REQUEST
            )

    def _connection(self) -> asyncio.Protocol:
        """What speaks with a client that has connected."""
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        return made

    async def _until(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait for something, no longer than so many seconds, and not at all in a hurry."""
        end = time.monotonic() + seconds
        while not done() and not self.force_exit and time.monotonic() < end:  # noqa: ASYNC110  uvicorn tells nobody
            await asyncio.sleep(STEP)


def _has_asked(connection: Any) -> bool:
    """Whether a request has come on a connection."""
    return getattr(connection, "cycle", None) is not None


def _accepted(listening: socket.socket) -> list[socket.socket]:
    """Those who have connected and were not taken yet; the socket is closed at once behind the last of them."""
    waiting: list[socket.socket] = []
    with listening, contextlib.suppress(BlockingIOError):
        listening.setblocking(False)
        while True:
            waiting.append(listening.accept()[0])
    return waiting


def bind(settings: Settings) -> tuple[socket.socket, str]:
    """The socket that is listened on, and the address as clients write it.

    Raises:
        OSError: If the address is taken, or is none.
    """
    if settings.uds is not None:
        return _bind_path(Path(settings.uds)), f"unix:{settings.uds}"
    listening, address = _bind_port(settings.host, settings.port)
    return listening, f"http{'' if settings.ssl_certfile is None else 's'}://{address}"


def bind_metrics(settings: Settings) -> tuple[socket.socket, str] | None:
    """The socket that metrics alone are read from, and its address; None if they are read with the rest.

    Raises:
        ValueError: If it is the server's own.
        OSError: If the address is taken, or is none.
    """
    if settings.metrics_port is None:
        return None
    if settings.uds is None and settings.metrics_port == settings.port != 0 and settings.metrics_host is None:
        message = f"--metrics-port {settings.port} is the port of the server itself: metrics need another"
        raise ValueError(message)
    listening, address = _bind_port(settings.metrics_host or settings.host, settings.metrics_port)
    return listening, f"http://{address}"


def _bind_port(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket of TCP, and its host and port as URLs have them."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        if error.errno != errno.EADDRINUSE:
            raise
        message = f"port {port} of {host} is in use: another program listens on it"
        raise AddressInUseError(message) from error
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    return listening, f"{shown}:{listening.getsockname()[1]}"


def _bind_path(path: Path) -> socket.socket:
    """A Unix socket; one that a server left behind, and nobody listens on, is replaced."""
    listening = socket.socket(socket.AF_UNIX)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _is_listened_on(path):
        path.unlink()
    listening.bind(str(path))
    return listening


def _is_listened_on(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def run(
    app: ASGIApp,
    state: State,
    settings: Settings,
    listening: socket.socket,
    started: Callable[[], None],
    *,
    certificate: Certificate | None = None,
    aside: tuple[ASGIApp, socket.socket] | None = None,
) -> int:
    """Serve on a socket until a signal asks for the end.

    Args:
        app: The application.
        state: Its parts; its models are warmed up first, and closed at the end.
        settings: How it is run.
        listening: The socket.
        started: Called once it listens.
        certificate: What connections are encrypted by; None for no encryption.
        aside: An application that is served beside it, on a socket of its own.

    Returns:
        The exit code. Where threads are still at work, or hang, the process is ended instead.
    """
    _allow_files(settings.limits.connections)
    state.metrics.watch_log(lambda: state.log.lost)

    def settled() -> None:
        gc.collect()
        gc.freeze()  # what is loaded stays: looking through it anew took a fifth of the event loop's time
        started()

    loops = configured(app, state, settings).get_loop_factory()
    with in_background(state.log.thread), asyncio.Runner(loop_factory=loops) as runner:
        server = runner.run(serve(app, state, settings, listening, settled, certificate=certificate, aside=aside))
        if settings.uds is not None:
            Path(settings.uds).unlink(missing_ok=True)
        if state.traces is not None:
            state.traces.close()
        if tell_of_hanging(LAST_BYTES) or server.has_left or state.ailing:
            state.log.close()
            exit_now(server.exit_code)
    return server.exit_code


async def serve(
    app: ASGIApp,
    state: State,
    settings: Settings,
    listening: socket.socket,
    started: Callable[[], None],
    *,
    certificate: Certificate | None = None,
    aside: tuple[ASGIApp, socket.socket] | None = None,
) -> Server:
    """The same on the event loop that runs; returns the server, which has ended."""
    for model in state.models.served:
        await warm_up(model.llm)
    server = Server(configured(app, state, settings), state, settings.limits, started, certificate)
    state.end = server.end
    watch = asyncio.ensure_future(Supervisor(state, settings).run())
    beside = None if aside is None else Aside(configured(aside[0], state, settings), aside[1])
    try:
        async with beside or contextlib.nullcontext():
            await server.serve(sockets=[listening])
    finally:
        server.deadline.lift()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    if not (server.has_left or state.ailing):
        for model in state.models.served:
            await model.llm.close(finish=False)
    return server


def configured(app: ASGIApp, state: State, settings: Settings) -> uvicorn.Config:
    """The settings of uvicorn: ours, and a protocol with limits where httptools is installed."""
    config = uvicorn.Config(
        app,
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.limits.idle_seconds,
        h11_max_incomplete_event_size=settings.limits.header_bytes,
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # what clients send wrong is no event of the server
    config.load()
    with contextlib.suppress(ImportError):
        from millpond_server.http.connection import Connection  # noqa: PLC0415  httptools is not everywhere

        protocol: Any = partial(Connection, limits=settings.limits, on_refused=partial(_refused, state))
        config.http_protocol_class = protocol
    return config


def _refused(state: State, error: ApiError, client: str) -> None:
    state.metrics.refused(error.reason)
    state.log.write({"method": "-", "path": "-", "status": error.status, "client": client, "reason": error.reason})


async def _close(engine: Any) -> None:
    await asyncio.to_thread(engine.close, finish=False)


def _allow_files(connections: int) -> None:
    """Raise the number of files that may be open to what the connections need, as far as the system lets us."""
    try:
        import resource  # noqa: PLC0415  not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + FILES if hard == resource.RLIM_INFINITY else min(connections + FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
