"""HttpServer: uvicorn's server with a graceful shutdown that loses no accepted request."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from millpond_server.http.tls import HANDSHAKE_TIMEOUT_S
from millpond_server.runtime.ending import POLL_INTERVAL_S, SHUTDOWN_SLACK_S, Deadline
from millpond_server.runtime.settings import Limits
from millpond_server.runtime.sockets import Sockets, accept_pending, drop_new_connections
from millpond_server.runtime.state import State

logger = logging.getLogger(__name__)
SIGNAL_EXIT_CODE = 128  # plus the number of the signal: the exit code of a program that a signal ended
FLUSH_TIMEOUT_S = 1.0  # for responses to reach their clients
PENDING_HANDSHAKES_S = 0.25
FIRST_REQUEST_TIMEOUT_S = 2.0  # for a request on a connection that was opened just before the shutdown


class HttpServer(uvicorn.Server):
    """uvicorn's server on one or two sockets: one for the API, and one for metrics.

    The first signal starts a graceful shutdown; a second one ends the server at once.

    Attributes:
        exit_code: The exit code of the process.
        deadline: Exits the process if the event loop itself hangs.
        has_unfinished: True if requests or engines were still running when the server ended.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        metrics: uvicorn.Config,
        state: State,
        limits: Limits,
        on_start: Callable[[], None],
    ) -> None:
        """Create the server.

        Args:
            config: The uvicorn configuration of the API.
            metrics: The uvicorn configuration of the metrics port.
            state: The state of the server.
            limits: The limits, which include the duration of the shutdown.
            on_start: Called once the server is listening.
        """
        super().__init__(config)
        self._tls: dict[str, Any] = {}  # arguments of the event loop for each connection
        if config.ssl is not None:
            config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
            self._tls = {"ssl": config.ssl, "ssl_handshake_timeout": HANDSHAKE_TIMEOUT_S}
        self.exit_code = 0
        self.deadline = Deadline()
        self.has_unfinished = False
        self._metrics_config = metrics
        self._metrics_state = ServerState()
        self._metrics_server: asyncio.Server | None = None
        self._sockets: list[socket.socket] = []
        self._state = state
        self._limits = limits
        self._on_start = on_start
        self._shutdown_at = float("inf")

    async def serve_sockets(self, sockets: Sockets) -> None:
        """Serve the API until a signal, and metrics until the last request is finished."""
        self._sockets = [sockets.api]
        if sockets.metrics is not None:
            protocol = partial(self._protocol, self._metrics_config, self._metrics_state)
            self._metrics_server = await asyncio.get_running_loop().create_server(protocol, sock=sockets.metrics)
        try:
            await self.serve(self._sockets)
        finally:
            if self._metrics_server is not None:
                self._metrics_server.close()
                for connection in list(self._metrics_state.connections):
                    connection.shutdown()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(self._connection, sock=listener, backlog=self.config.backlog, **self._tls)
            for listener in sockets or []
        ]
        self.started = True
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is uvicorn's
        """Handle a signal."""
        if self._state.draining:
            self.end(SIGNAL_EXIT_CODE + sig)
            self.deadline.set(SHUTDOWN_SLACK_S, self.exit_code)
            return
        self._state.draining = True
        self._shutdown_at = time.monotonic() + self._limits.drain_delay
        self.exit_code = SIGNAL_EXIT_CODE + sig if sig == signal.SIGINT else 0
        self.deadline.set(self._limits.drain_delay + self._limits.drain_seconds + SHUTDOWN_SLACK_S, self.exit_code)

    def end(self, exit_code: int) -> None:
        """End at once: running requests are answered with 503."""
        self._state.draining = self.should_exit = self.force_exit = True
        self.exit_code = exit_code

    async def on_tick(self, counter: int) -> bool:
        """Return True if it is time to shut down."""
        self.should_exit |= time.monotonic() >= self._shutdown_at
        should_end = await super().on_tick(counter)
        self._metrics_state.default_headers = self.server_state.default_headers
        return should_end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, finish running requests, and answer 503 to the unfinished ones."""
        await self._stop_listening(sockets or [])
        # Requests that have just been sent are served.
        await self._wait_until(lambda: not self.server_state.connections, 10 * POLL_INTERVAL_S)
        await self._wait_until(lambda: all(map(_has_request, self.server_state.connections)), FIRST_REQUEST_TIMEOUT_S)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        drain_end = time.monotonic() + self._limits.drain_seconds
        await self._wait_until(lambda: not self.server_state.tasks, self._limits.drain_seconds)
        for connection in list(self.server_state.connections):
            _refuse_incomplete_body(connection)
        unfinished = len(self.server_state.tasks)
        closing = asyncio.gather(*(_close(model.llm.engine) for model in self._state.models.served))
        remaining = max(drain_end - time.monotonic(), FLUSH_TIMEOUT_S)
        with contextlib.suppress(TimeoutError):
            timeout = FLUSH_TIMEOUT_S if unfinished or self.force_exit else remaining
            await asyncio.wait_for(asyncio.shield(closing), timeout)
        self.has_unfinished = unfinished > 0 or not closing.done()
        self.force_exit = False  # the error responses of the unfinished requests are still to be sent
        await self._wait_until(lambda: not self.server_state.tasks, FLUSH_TIMEOUT_S)
        for task in self.server_state.tasks:
            task.cancel()
        await self._wait_until(lambda: not self.server_state.connections, FLUSH_TIMEOUT_S)
        if unfinished:
            logger.warning("%d requests were not finished in time", unfinished)

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Stop listening, but serve pending connections: closing the socket would reset them."""
        listeners = [listener.dup() for listener in sockets]
        for listener in listeners:
            drop_new_connections(listener)
        for server in self.servers:
            server.close()
        for listener in sockets:
            listener.close()
        # Wait until uvicorn has registered accepted connections; TLS connections need a handshake first.
        await asyncio.sleep(PENDING_HANDSHAKES_S if self._tls else POLL_INTERVAL_S)
        pending = [connection for listener in listeners for connection in accept_pending(listener)]
        await asyncio.gather(*map(self._serve_connection, pending))

    async def _serve_connection(self, connection: socket.socket) -> None:
        """Serve an accepted connection; it is dropped if its TLS handshake fails."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(
                loop.connect_accepted_socket(self._connection, connection, **self._tls), FIRST_REQUEST_TIMEOUT_S
            )

    def _connection(self) -> asyncio.Protocol:
        """Return the protocol of a new connection to the API."""
        return self._protocol(self.config, self.server_state)

    def _protocol(self, config: uvicorn.Config, server_state: ServerState) -> asyncio.Protocol:
        protocol_class: Any = config.http_protocol_class
        protocol: asyncio.Protocol = protocol_class(
            config=config,
            server_state=server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        return protocol

    async def _wait_until(self, condition: Callable[[], bool], timeout: float) -> None:  # noqa: ASYNC109
        """Wait for a condition, at most `timeout` seconds, and not at all after a second signal."""
        deadline = time.monotonic() + timeout
        # Polling, because uvicorn has no event for these conditions.
        while not condition() and not self.force_exit and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL_S)


def _has_request(connection: Any) -> bool:
    """Return True if the connection has received a request."""
    return getattr(connection, "cycle", None) is not None


def _refuse_incomplete_body(connection: Any) -> None:
    """Refuse a request whose body has not arrived. On Windows, whose connections cannot do this, it is cancelled."""
    if hasattr(connection, "refuse_incomplete_body"):
        connection.refuse_incomplete_body()


async def _close(engine: Any) -> None:
    await asyncio.to_thread(engine.close, finish=False)
