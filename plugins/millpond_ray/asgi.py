"""ASGI applications in Ray Serve: as the ingress of HTTP requests, or for requests with complete bodies."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
Response = tuple[int, list[tuple[bytes, bytes]], bytes]

REQUEST_ID = b"x-request-id"


def as_ingress(application: Application) -> Application:
    """Return an application whose responses lack the header x-request-id, which Serve's proxy adds to all of them."""

    async def serve(scope: Message, receive: Receive, send: Send) -> None:
        async def send_without_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [header for header in message["headers"] if bytes(header[0]).lower() != REQUEST_ID]
                message = {**message, "headers": headers}
            await send(message)

        await application(scope, receive, send_without_id)

    return serve


async def answer(application: Application, scope: dict[str, Any], body: bytes) -> Response:
    """Return status, headers and body of an ASGI application's response to a request with a complete body."""
    start: Message = {}
    content = bytearray()
    requests = iter([{"type": "http.request", "body": body, "more_body": False}])
    forever = asyncio.Event()

    async def receive() -> Message:
        message = next(requests, None)
        if message is None:
            await forever.wait()  # the client is the router, which does not disconnect
        return message or {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            content.extend(message.get("body", b""))

    await application(scope, receive, send)
    return start["status"], [(bytes(key), bytes(value)) for key, value in start["headers"]], bytes(content)
