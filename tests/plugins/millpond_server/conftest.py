"""Servers for tests over HTTP: in a separate process, in a thread, or the application without a server."""

import asyncio
import concurrent.futures
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import httpx2
import pytest
from waiting import PATIENCE_S, POLL_S, eventually

from millpond import AsyncLLM
from millpond.testing.checkpoints import tiny
from millpond_models.encoders.bert.model import BertModel

MINILM = "all-MiniLM-L6-v2"
LISTENS = re.compile(r"listens on ((?:https?|unix):\S+)")


@dataclass(frozen=True)
class Running:
    """A running server, and the lines of its output."""

    process: subprocess.Popen
    address: str
    lines: list

    def client(self, **more):
        return httpx2.Client(base_url=self.address, timeout=30.0, **more)


@contextmanager
def serve_process(*arguments, env=None, port=("--port", "0")):
    """Run ``millpond serve ...`` on a free port until the block ends."""
    command = [sys.executable, "-m", "millpond", "serve", *arguments, *port]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(env or {})}
    )
    lines, listens = [], threading.Event()
    # Its output, one line per request, must be read: a full pipe would block it.
    reader = threading.Thread(target=_read, args=(process, lines, listens), daemon=True)
    reader.start()
    try:
        yield Running(process, _address(lines, listens), lines)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(PATIENCE_S)
        process.stdout.close()


def _read(process, lines, listens):
    for line in process.stdout:
        lines.append(line)
        if LISTENS.search(line):
            listens.set()
    listens.set()


def _address(lines, listens):
    listens.wait(PATIENCE_S)
    match = next(filter(None, map(LISTENS.search, list(lines))), None)
    if match is None:
        pytest.fail(f"the server did not start:\n{''.join(lines)}")
    return match.group(1)


@pytest.fixture(scope="session")
def serving():
    return serve_process


@pytest.fixture(scope="session")
def minilm_server():
    with serve_process(MINILM) as running:
        yield running


@pytest.fixture
def http(minilm_server):
    with minilm_server.client() as client:
        yield client


class Raw:
    """A minimal HTTP client on one connection, which leaves more of the machine to the server than httpx."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.is_open = True

    @classmethod
    async def connect(cls, address):
        host, _, port = address.removeprefix("http://").partition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def post(self, path, body):
        """Post a body; return the status, headers and body of the response."""
        self.writer.write(self.head(path, body) + body)
        async with asyncio.timeout(PATIENCE_S):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            answer = await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), headers, answer

    @staticmethod
    def head(path, body):
        headers = f"host: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return f"POST {path} HTTP/1.1\r\n{headers}".encode()

    def close(self):
        self.writer.close()
        self.is_open = False


@pytest.fixture(scope="session")
def raw():
    return Raw


# --- the application alone, without a server --------------------------------------------------------------------------


@contextmanager
def posting(folders, options=None):
    """Post bodies to an application that serves models; requests without a body are GET requests.

    Args:
        folders: The folder of each model by its name.
        options: Other arguments of ``AsyncLLM``, by the model's name.
    """
    from millpond.plugin.manager import PluginManager
    from millpond_server.runtime.models import Models, ServedModel
    from millpond_server.runtime.server import build_server
    from millpond_server.runtime.settings import Settings

    plugins, options = PluginManager(), options or {}
    served = [
        ServedModel(names=(name,), llm=AsyncLLM(path, plugins=plugins, **options.get(name, {})))
        for name, path in folders.items()
    ]
    server = build_server(Settings(log_format="off"), Models(served), registry=plugins.registry)
    transport = httpx2.ASGITransport(app=server.app)
    client = httpx2.AsyncClient(transport=transport, base_url="http://localhost")

    with asyncio.Runner() as runner:
        yield Application(runner, client)
        for model in served:
            runner.run(model.llm.close())
        runner.run(client.aclose())


@dataclass(frozen=True)
class Application:
    """The ASGI application of a server, without the server."""

    runner: asyncio.Runner
    client: httpx2.AsyncClient

    def __call__(self, path, status=200, **body):
        """Return the response to a body, or to a GET request without one."""
        answer = self.runner.run(self.client.post(path, json=body) if body else self.client.get(path))
        assert answer.status_code == status, answer.text
        return answer.json()

    def together(self, path, *bodies):
        """Return the responses to bodies that are posted at the same time."""
        return self.runner.run(self._gathered(path, bodies))

    async def _gathered(self, path, bodies):
        answers = await asyncio.gather(*(self.client.post(path, json=body) for body in bodies))
        assert [answer.status_code for answer in answers] == [200] * len(bodies), answers[0].text
        return [answer.json() for answer in answers]


@pytest.fixture(scope="session")
def application():
    return posting


@pytest.fixture(scope="module")
def post(folders):
    """Post a body to an application that serves all models of a module."""
    with posting(folders) as call:
        yield call


# --- a server in a thread of this process, for models that tests hold, poison and kill --------------------------------


class WatchedBert(BertModel):
    """BertModel that calls a function before each forward pass, with the token ids of its sequences."""

    on_forward = staticmethod(lambda _: None)

    def forward(self, batch):
        self.on_forward([tuple(part.tolist()) for part in batch.input_ids.split(list(batch.lengths))])
        return super().forward(batch)


class Gate:
    """Called at each forward pass: records it, and blocks it until the test opens the gate."""

    def __init__(self):
        self.came = threading.Semaphore(0)
        self.may_pass = threading.Event()

    def __call__(self, _):
        self.came.release()
        assert self.may_pass.wait(PATIENCE_S)

    def wait(self, *asked):
        """Wait until a forward begins; calls that cannot end before it fail the test at once if they do."""
        eventually(lambda: self.came.acquire(timeout=POLL_S), *asked)


@dataclass(frozen=True)
class Local:
    """A server in a thread of this process."""

    state: object
    address: str
    thread: threading.Thread
    metrics: str | None = None  # the address of the port for metrics

    @property
    def llm(self):
        return self.state.models.served[0].llm

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def client(self, **more):
        return httpx2.Client(base_url=self.address, timeout=30.0, **more)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def metric(self, name, **labels):
        return self.state.metrics.registry.get_sample_value(f"millpond_{name}", labels)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.may_pass.set()


@pytest.fixture
def pool(gate):
    """Threads of clients; the gate opens at the end of the test, so that none stays blocked."""
    with concurrent.futures.ThreadPoolExecutor(80) as pool:
        yield pool
        gate.may_pass.set()


@pytest.fixture
def watch(monkeypatch):
    """Call a function at each forward pass of the models of ``local``."""

    def watch(function):
        monkeypatch.setattr(WatchedBert, "on_forward", staticmethod(function))

    return watch


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return str(tiny("BertModel", tmp_path_factory.mktemp("tiny") / "bert"))


@pytest.fixture
def local(folder, plugin_manager):
    """Start servers in threads; they end with the test."""
    from millpond_server.runtime.models import Models, ServedModel
    from millpond_server.runtime.server import build_server
    from millpond_server.runtime.settings import Limits, Settings
    from millpond_server.runtime.sockets import bind
    from millpond_server.testing import running

    built_in = plugin_manager.registry.architectures.get("BertModel").spec
    plugin_manager.register(replace(built_in, target=WatchedBert))
    threads = []

    with ExitStack() as servers:

        def start(names=("tiny",), *, workers=1, limits=None, model=folder, tracing=None, arguments=None, **settings):
            chosen = Settings(port=0, limits=Limits(**(limits or {})), **{"log_format": "off", **settings})
            sockets = bind(chosen)
            models = Models(
                [
                    ServedModel(
                        names=(name,),
                        llm=AsyncLLM(model, plugins=plugin_manager, num_workers=workers, **(arguments or {})),
                    )
                    for name in names
                ]
            )
            server = build_server(chosen, models, registry=plugin_manager.registry, tracing=tracing)
            served = servers.enter_context(running(server, sockets))
            threads.append(served.thread)
            return Local(server.state, served.url, served.thread, served.metrics_url)

        yield start
    assert not any(thread.is_alive() for thread in threads), "the server did not end"
