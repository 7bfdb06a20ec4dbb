"""BodyReader: the body of a request that a route's handler reads by itself, under the server's limits."""

import asyncio

from starlette.types import Message, Receive, Scope

from millpond_server.http.body import ClientGoneError, Intake, refuse_stated_length, too_large
from millpond_server.http.errors import ApiError
from millpond_server.runtime.settings import Limits


class BodyReader:
    """Passes the messages of a request on to its handler, and holds them to size and time.

    Its bytes count as held until the request ends: a handler may keep them.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: Limits, intake: Intake) -> None:
        refuse_stated_length(scope, limits)
        self._scope = scope
        self._receive = receive
        self._limits = limits
        self._intake = intake
        self._size = 0
        self._until: float | None = None
        self._has_ended = asyncio.Event()

    async def receive(self) -> Message:
        """Return the next message; what the handler's ``Request`` reads.

        Raises:
            ApiError: 413 if the body is too large, 408 if it does not arrive in time, 503 if too much is being sent.
            ClientGoneError: If the client goes away before its body is whole.
        """
        if self._has_ended.is_set():
            return await self._receive()
        loop = asyncio.get_running_loop()
        if self._until is None:
            self._until = loop.time() + self._limits.body_seconds
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            text = f"the body did not arrive within {self._limits.body_seconds:g} seconds"
            raise ApiError(408, text, reason="slow_body") from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        self._take(len(message.get("body", b"")))
        if not message.get("more_body", False):
            self._has_ended.set()
        return message

    async def after_body(self) -> Message:
        """Return the next message once the handler has read the body; what tells that the client has gone."""
        await self._has_ended.wait()
        return await self._receive()

    def _take(self, size: int) -> None:
        self._size += size
        if self._size > self._limits.body_bytes:
            raise too_large(self._limits)
        self._intake.keep_more(self._scope, size, self._limits)
