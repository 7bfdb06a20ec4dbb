"""Requests of batches, passed to the application like those of live clients, without a connection."""

import asyncio
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message

from millpond_server.http.call import REQUEST_ID_HEADER
from millpond_server.runtime.admission import PRIORITY_HEADER

TEMPORARY_REASONS = frozenset({"queue", "intake", "dead", "closed"})  # requests with these errors are repeated
MIN_RETRY_S, MAX_RETRY_S = 0.05, 5.0
NO_TIMEOUT_MS = b"9999999999"  # the maximum: requests of batches wait until the batch expires


@dataclass
class Answer:
    """The response to a request.

    Attributes:
        status: The HTTP status.
        body: The body.
        headers: The headers, by lower-case names.
        is_complete: True if the whole body was sent.
        reason: The reason of an error, for metrics; empty for other responses.
        model: The name of the model that was used; empty if none was.
    """

    status: int = 500
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    is_complete: bool = False
    reason: str = ""
    model: str = ""


async def send(
    app: ASGIApp, path: str, body: bytes, request_id: str, *, must_stop: Callable[[], bool]
) -> Answer | None:
    """Run a POST request in the priority class `batch`. While the server is overloaded, wait and try again.

    Args:
        app: The application, without middleware.
        path: The path.
        body: The body, JSON.
        request_id: The id of the request.
        must_stop: Returns True if the request must not be tried again.

    Returns:
        The response; None if the server did not accept the request before it had to stop.
    """
    while True:
        answer = await _send_once(app, path, body, request_id)
        if answer.reason not in TEMPORARY_REASONS:
            return answer
        if must_stop():
            return None
        wait = float(answer.headers.get("retry-after-ms", 0)) / 1000
        await asyncio.sleep(min(max(wait, MIN_RETRY_S), MAX_RETRY_S))


async def _send_once(app: ASGIApp, path: str, body: bytes, request_id: str) -> Answer:
    answer, parts = Answer(), bytearray()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()  # the client never disconnects
        raise AssertionError

    async def collect(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
        else:
            parts.extend(message.get("body", b""))
            answer.is_complete = not message.get("more_body", False)

    scope = _scope(path, body, request_id)
    await app(scope, receive, collect)
    answer.body = bytes(parts)
    answer.reason, answer.model = scope.get("millpond.reason", ""), scope.get("millpond.model", "")
    return answer


def _scope(path: str, body: bytes, request_id: str) -> dict[str, Any]:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (PRIORITY_HEADER.encode(), b"batch"),
        (REQUEST_ID_HEADER, request_id.encode()),
        (b"x-request-timeout-ms", NO_TIMEOUT_MS),
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
        "millpond.request_id": request_id,
    }
