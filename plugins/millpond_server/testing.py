"""A server for tests of routes and IO processors: the server of ``millpond serve`` in a thread of the test process."""

import asyncio
import json as json_module
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from millpond import AsyncLLM
from millpond.plugin.manager import PluginManager, get_plugin_manager
from millpond_server.runtime.models import Models, ServedModel
from millpond_server.runtime.server import Server, build_server
from millpond_server.runtime.settings import validated
from millpond_server.runtime.sockets import Sockets, bind

START_TIMEOUT_S = 60.0
RESPONSE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP response.

    Attributes:
        status: The HTTP status.
        headers: The headers; names are case-insensitive.
        content: The body.
    """

    status: int
    headers: Message
    content: bytes

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.content.decode()

    def json(self) -> Any:
        """Return the body as a JSON value."""
        return json_module.loads(self.content)


@dataclass(frozen=True)
class RunningServer:
    """A running server.

    Attributes:
        url: The URL, such as ``http://127.0.0.1:40123``, for any HTTP client.
        server: The server and its state.
        thread: The thread that runs it.
        metrics_url: The URL of the port for metrics, if there is one.
    """

    url: str
    server: Server
    thread: threading.Thread
    metrics_url: str | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """Send a request on a new connection and return the response.

        Args:
            method: The HTTP method, such as ``"POST"``.
            path: The path, with the query string if there is one.
            json: The body as a JSON value.
            content: The body as bytes, or as an iterator of chunks.
            headers: Additional headers.
        """
        body: Any = content
        all_headers = dict(headers or {})
        if json is not None:
            body = json_module.dumps(json).encode()
            all_headers = {"content-type": "application/json", **all_headers}
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=RESPONSE_TIMEOUT_S)
        try:
            connection.request(method, path, body=body, headers=all_headers)
            response = connection.getresponse()
            return HttpAnswer(response.status, response.headers, response.read())
        finally:
            connection.close()


@contextmanager
def running_server(
    *models: str | Path,
    plugins: PluginManager | None = None,
    routes: Sequence[str] = (),
    api_keys: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[RunningServer]:
    """Serve models on a free port of 127.0.0.1 until the block ends.

    Args:
        *models: Folders or names of the models; the name in requests is the last part of the path.
        plugins: The plugins to use (default: those of this process).
        routes: The installed plugins whose routes are mounted, like ``--routes``.
        api_keys: The API keys required from clients (default: none are required).
        arguments: Arguments of ``AsyncLLM`` for each model.
        settings: Other settings of the server, such as ``{"limits": {"body_bytes": 1024}}``.
    """
    manager = plugins or get_plugin_manager()
    server_settings = validated(
        {"port": 0, "log_format": "off", "routes": tuple(routes), "api_keys": tuple(api_keys), **(settings or {})}
    )
    model_arguments = {"num_workers": 1, **(arguments or {})}
    served_models = Models(
        [
            ServedModel(names=(Path(model).name,), llm=AsyncLLM(str(model), plugins=manager, **model_arguments))
            for model in models
        ]
    )
    try:
        server = build_server(server_settings, served_models, registry=manager.registry)
        sockets = bind(server_settings)
    except BaseException:
        for model in served_models.served:
            model.llm.engine.close()
        raise
    with running(server, sockets) as http_server:
        yield http_server


@contextmanager
def running(server: Server, sockets: Sockets) -> Iterator[RunningServer]:
    """Run a server in a thread until the block ends.

    Args:
        server: A server from ``build_server``.
        sockets: Its sockets from ``bind``.
    """
    is_listening = threading.Event()
    serving = server.serve(sockets, is_listening.set)
    thread = threading.Thread(target=asyncio.run, args=(serving,), name="millpond-server", daemon=True)
    thread.start()
    try:
        if not is_listening.wait(START_TIMEOUT_S):
            message = f"the server did not start within {START_TIMEOUT_S:g} seconds"
            raise TimeoutError(message)
        yield RunningServer(sockets.url, server, thread, sockets.metrics_url)
    finally:
        server.state.end(0)
        thread.join(RESPONSE_TIMEOUT_S)
        server.state.log.close()
