"""Router: passes requests to the deployments of several models, by their field ``model``."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from millpond_ray.asgi import Application, Message, Receive, Response, Send, as_ingress

MODEL_PATH = "/v1/models/"  # followed by the name of a model
LISTS = frozenset({"models"})  # the last parts of paths that concern all models, with any prefix
HEALTH = frozenset({"health", "ready", "ping"})
BUDGET_FACTOR = 8  # times the maximum size of a body: the memory for all bodies together, as in the server
SCOPE_KEYS = ("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path")
OK, UNAVAILABLE = 200, 503


class Router:
    """The ingress of several models.

    Args:
        names: The names of each model in requests; the first model is the default.
        handles: A handle of the deployment of each.
    """

    def __init__(self, names: Sequence[Sequence[str]], handles: Sequence[Any]) -> None:
        self._application = as_ingress(RouterApplication(names, handles))

    def __serve_build_asgi_app__(self) -> Application:
        """Return the application; Ray Serve calls it with HTTP requests and lifespan events."""
        return self._application


class RouterApplication:
    """The ASGI application of `Router`, with the same arguments.

    Requests that name no model, or an unknown one, are passed to the default model, which responds to them in the
    format of their route.
    """

    def __init__(self, names: Sequence[Sequence[str]], handles: Sequence[Any]) -> None:
        self._models = tuple(handles)
        self._handles = {name: handle for group, handle in zip(names, handles, strict=True) for name in group}
        self._max_body_bytes: int | None = None
        self._held_bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request to its model, and the response back."""
        if scope["type"] == "lifespan":
            await _acknowledge(receive, send)
            return
        response = await self._serve(scope, receive)
        if response is None:  # the client disconnected
            return
        status, headers, content = response
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _serve(self, scope: Message, receive: Receive) -> Response | None:
        """Read the body within the limits of size and memory, and return the response of the model."""
        plain = {key: scope[key] for key in SCOPE_KEYS if key in scope}
        plain |= {"headers": [tuple(header) for header in scope["headers"]], "client": scope.get("client")}
        max_bytes = await self._limit()
        body = bytearray()
        try:
            async for chunk in _chunks(receive):
                if chunk is None:
                    return None
                body += chunk
                self._held_bytes += len(chunk)
                if len(body) > max_bytes:
                    return await self._refuse(plain, len(body))
                if self._held_bytes > BUDGET_FACTOR * max_bytes:
                    return _busy()
            return await self._respond(plain, bytes(body))
        finally:
            self._held_bytes -= len(body)

    async def _limit(self) -> int:
        """Return the maximum size of a body, which is a setting of the models' applications."""
        if self._max_body_bytes is None:
            self._max_body_bytes = int(await self._models[0].max_body_bytes.remote())
        return self._max_body_bytes

    async def _refuse(self, scope: dict[str, Any], size: int) -> Response:
        """Let the default model refuse a body by its size, without the body."""
        headers = [header for header in scope["headers"] if header[0] != b"content-length"]
        headers.append((b"content-length", str(size).encode()))
        response: Response = await self._models[0].answer.remote({**scope, "headers": headers}, b"")
        return response

    async def _respond(self, scope: dict[str, Any], body: bytes) -> Response:
        path = scope["path"].removeprefix(scope.get("root_path", ""))  # Serve's route_prefix
        last_part = path.rpartition("/")[2]
        if not path.startswith(MODEL_PATH) and last_part in LISTS | HEALTH:
            responses: list[Response] = await asyncio.gather(*(it.answer.remote(scope, body) for it in self._models))
            failed = [response for response in responses if response[0] != OK]
            if failed:
                return failed[0]
            return _merged(responses) if last_part in LISTS else responses[0]
        name = _requested(path, body)
        handle = self._handles.get(name, self._models[0]) if isinstance(name, str) else self._models[0]
        response: Response = await handle.answer.remote(scope, body)
        return response


def _requested(path: str, body: bytes) -> object:
    """Return the model that a request names in its path or its body; None if it names none."""
    if path.startswith(MODEL_PATH):
        return path.removeprefix(MODEL_PATH)
    try:
        request = orjson.loads(body) if body else None
    except ValueError:  # the application of the default model describes the error
        return None
    return request.get("model") if isinstance(request, dict) else None


def _merged(responses: Sequence[Response]) -> Response:
    """Return one list of the models in several."""
    pages = [orjson.loads(content) for _, _, content in responses]
    content = orjson.dumps({**pages[0], "data": [model for page in pages for model in page["data"]]})
    headers = [header for header in responses[0][1] if header[0].lower() != b"content-length"]
    return OK, [*headers, (b"content-length", str(len(content)).encode())], content


def _busy() -> Response:
    """Return the response for a request whose body exceeds the memory for bodies."""
    message = "too much is being sent at present"
    content = orjson.dumps({"error": {"message": message, "type": "ServiceUnavailableError", "code": UNAVAILABLE}})
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"1"), (b"connection", b"close")]
    return UNAVAILABLE, [*headers, (b"content-length", str(len(content)).encode())], content


async def _chunks(receive: Receive) -> AsyncIterator[bytes | None]:
    """Yield the parts of a request's body; None if the client disconnects."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            yield None
            return
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def _acknowledge(receive: Receive, send: Send) -> None:
    """Answer lifespan events: a router has nothing to start or to close."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
