"""HttpServer: uvicorn's server, which ends without losing a request that it has accepted."""

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

from millpond_server.http.tls import HANDSHAKE_SECONDS
from millpond_server.runtime.ending import SLACK, Deadline
from millpond_server.runtime.settings import Limits
from millpond_server.runtime.sockets import Sockets, accepted, admit_no_more
from millpond_server.runtime.state import State

logger = logging.getLogger(__name__)
SIGNALLED = 128  # plus the signal's number: the exit code of a program that a signal has ended
LAST_BYTES = 1.0  # seconds for answers to reach their clients
STEP = 0.05  # seconds
HANDSHAKES = 0.25  # seconds
FIRST_REQUEST = 2.0  # seconds for a request on a connection that was made just before the end


class HttpServer(uvicorn.Server):
    """uvicorn's server on one or two sockets: one for the API, and one for metrics alone.

    The first signal ends it once running requests are finished; a second one ends it at once.

    Attributes:
        exit_code: The exit code of the process.
        deadline: Ends the process where the event loop itself hangs.
        has_left: True if something still ran when it ended.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        metrics: uvicorn.Config,
        state: State,
        limits: Limits,
        on_start: Callable[[], None],
    ) -> None:
        """Take what is served.

        Args:
            config: The API, as uvicorn serves it.
            metrics: The application of the socket for metrics.
            state: What the server's parts know of one another.
            limits: How long the end may take.
            on_start: Called once it listens.
        """
        super().__init__(config)
        # What the event loop needs for each connection.
        self._encryption: dict[str, Any] = {}
        if config.ssl is not None:
            config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
            self._encryption = {"ssl": config.ssl, "ssl_handshake_timeout": HANDSHAKE_SECONDS}
        self.exit_code = 0
        self.deadline = Deadline()
        self.has_left = False
        self._metrics_config = metrics
        self._metrics_state = ServerState()
        self._metrics_server: asyncio.Server | None = None
        self._sockets: list[socket.socket] = []
        self._state = state
        self._limits = limits
        self._on_start = on_start
        self._end_at = float("inf")

    async def serve_sockets(self, sockets: Sockets) -> None:
        """Serve until a signal asks for the end; metrics until the last request is answered."""
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
        """Listen."""
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(self._connection, sock=listening, backlog=self.config.backlog, **self._encryption)
            for listening in sockets or []
        ]
        self.started = True
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is uvicorn's
        """Handle a signal."""
        if self._state.draining:
            self.end(SIGNALLED + sig)
            self.deadline.set(SLACK, self.exit_code)
            return
        self._state.draining = True
        self._end_at = time.monotonic() + self._limits.drain_delay
        self.exit_code = SIGNALLED + sig if sig == signal.SIGINT else 0
        self.deadline.set(self._limits.drain_delay + self._limits.drain_seconds + SLACK, self.exit_code)

    def end(self, exit_code: int) -> None:
        """End at once: running requests are answered 503."""
        self._state.draining = self.should_exit = self.force_exit = True
        self.exit_code = exit_code

    async def on_tick(self, counter: int) -> bool:
        """Return True if it is time to end."""
        self.should_exit |= time.monotonic() >= self._end_at
        ends = await super().on_tick(counter)
        self._metrics_state.default_headers = self.server_state.default_headers
        return ends

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, finish running requests, and answer 503 to what is left."""
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
        """Stop listening, but serve connections that are waiting: closing the socket would cut them off."""
        own = [listening.dup() for listening in sockets]
        for listening in own:
            admit_no_more(listening)
        for server in self.servers:
            server.close()
        for listening in sockets:
            listening.close()
        # Until connections that were accepted before are known here; encrypted ones are so a little later.
        await asyncio.sleep(HANDSHAKES if self._encryption else STEP)
        waiting = [connected for listening in own for connected in accepted(listening)]
        await asyncio.gather(*map(self._take, waiting))

    async def _take(self, connected: socket.socket) -> None:
        """Serve a connection; one that does not agree on its encryption is dropped."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(
                loop.connect_accepted_socket(self._connection, connected, **self._encryption), FIRST_REQUEST
            )

    def _connection(self) -> asyncio.Protocol:
        """Return the protocol of a new connection to the API."""
        return self._protocol(self.config, self.server_state)

    def _protocol(self, config: uvicorn.Config, server_state: ServerState) -> asyncio.Protocol:
        protocol: Any = config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=config,
            server_state=server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        return made

    async def _until(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition, at most for some seconds, and not at all after a second signal."""
        end = time.monotonic() + seconds
        while not done() and not self.force_exit and time.monotonic() < end:  # noqa: ASYNC110  uvicorn tells nobody
            await asyncio.sleep(STEP)


def _has_asked(connection: Any) -> bool:
    """Return True if a request has come on a connection."""
    return getattr(connection, "cycle", None) is not None


async def _close(engine: Any) -> None:
    await asyncio.to_thread(engine.close, finish=False)
