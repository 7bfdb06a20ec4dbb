"""Aside: a second address of a server, for those who watch it: its metrics, and whether it lives."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Self

import uvicorn


class Quiet(uvicorn.Server):
    """A server that leaves signals to another one beside it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


class Aside:
    """Serves an application on a socket of its own, beside a server, on its event loop.

    Args:
        config: The application, as uvicorn serves it.
        listening: The socket.
    """

    def __init__(self, config: uvicorn.Config, listening: socket.socket) -> None:
        self._server = Quiet(config)
        self._listening = listening
        self._work: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._work = asyncio.ensure_future(self._server.serve([self._listening]))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)
