"""A server for tests of routes and IO processors: all of ``millpond serve``, in a thread of the test's process."""

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
from millpond_server.runtime.settings import Settings
from millpond_server.runtime.sockets import Sockets, bind

START_SECONDS = 60.0
ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class HttpAnswer:
    """An answer to a request.

    Attributes:
        status: The HTTP status.
        headers: The headers; names are compared without case.
        content: The body.
    """

    status: int
    headers: Message
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode()

    def json(self) -> Any:
        """The body as a JSON value."""
        return json_module.loads(self.content)


@dataclass(frozen=True)
class RunningServer:
    """A server that runs.

    Attributes:
        url: The address, such as ``http://127.0.0.1:40123``; any HTTP client may use it.
        server: Its parts, such as the state.
        thread: The thread that serves it.
        metrics_url: The address of its port for metrics, if it has one.
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
        """Send a request on a connection of its own, and return the answer.

        Args:
            method: Such as ``"POST"``.
            path: The path, with the query if there is one.
            json: The body as a JSON value.
            content: The body as bytes, or as chunks of them.
            headers: Further headers.
        """
        body: Any = content
        sent = dict(headers or {})
        if json is not None:
            body = json_module.dumps(json).encode()
            sent = {"content-type": "application/json", **sent}
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return HttpAnswer(answer.status, answer.headers, answer.read())
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
        *models: The models, by their folders or names; requests call each by the last part of its folder.
        plugins: The plugins to use; by default those of this process.
        routes: The installed plugins whose routes are mounted, as ``--routes`` names them.
        api_keys: The keys that clients need; none for an open server.
        arguments: The arguments of each model, as ``LLM`` takes them.
        settings: Further options of the server, such as ``{"limits": {"body_bytes": 1024}}``.
    """
    manager = plugins or get_plugin_manager()
    chosen = Settings.model_validate(
        {"port": 0, "log_format": "off", "routes": tuple(routes), "api_keys": tuple(api_keys), **(settings or {})}
    )
    table = Models(
        [
            ServedModel(names=(Path(model).name,), llm=AsyncLLM(str(model), plugins=manager, **given))
            for model in models
            for given in [{"num_workers": 1, **(arguments or {})}]
        ]
    )
    try:
        server, sockets = build_server(chosen, table, registry=manager.registry), bind(chosen)
    except BaseException:
        for model in table.served:
            model.llm.engine.close()
        raise
    with running(server, sockets) as served:
        yield served


@contextmanager
def running(server: Server, sockets: Sockets) -> Iterator[RunningServer]:
    """Run a server in a thread until the block ends.

    Args:
        server: The server, as ``build_server`` assembles it.
        sockets: Its sockets, as ``bind`` returns them.
    """
    listens = threading.Event()
    work = server.serve(sockets, listens.set)
    thread = threading.Thread(target=asyncio.run, args=(work,), name="millpond-server", daemon=True)
    thread.start()
    try:
        if not listens.wait(START_SECONDS):
            message = f"the server did not start within {START_SECONDS:g} seconds"
            raise TimeoutError(message)
        yield RunningServer(sockets.url, server, thread, sockets.metrics_url)
    finally:
        server.state.end(0)
        thread.join(ANSWER_SECONDS)
        server.state.log.close()
