"""Mutated requests to all routes: none causes an error of the server or a traceback in the log."""

import asyncio
import logging
import threading
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

import pytest

from millpond import AsyncLLM
from millpond.testing.checkpoints import tiny
from millpond_models.testing.dual_encoders import tiny_dual_encoder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
QUICK, SLOW = 400, 10_000
DOCUMENTED = {503, 504}  # overload, and a timeout in a mutated header


# --- a server without a network ---------------------------------------------------------------------------------------


class Records(logging.Handler):
    """Collects log records with tracebacks."""

    def __init__(self):
        super().__init__()
        self.tracebacks = []

    def emit(self, record):
        if record.exc_info or record.levelno >= logging.ERROR:
            self.tracebacks.append(logging.Formatter().format(record))


@dataclass
class Lines:
    """Replaces the access log and collects its lines."""

    written: list = field(default_factory=list)
    is_on: bool = True
    lost: int = 0

    def write(self, fields):
        self.written.append(fields)


class Server:
    """The application with its middleware, called on a separate event loop."""

    def __init__(self, app, log):
        self.app, self.log = app, log
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    def send(self, request):
        """Return the status, headers and body of a response."""
        return self.run(self._send(request))

    async def _send(self, request):
        sent, gave = [], []

        async def receive():
            if gave:
                await asyncio.Event().wait()
            gave.append(1)
            return {"type": "http.request", "body": request.content(), "more_body": False}

        async def send(message):
            sent.append(message)

        raw = quote(request.path, safe="/%:;?\\").encode()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 9),
            "scheme": "http",
            "method": request.method,
            "path": unquote(raw.decode()),
            "raw_path": raw,
            "query_string": request.query,
            "root_path": "",
            "headers": list(request.headers),
            "state": {},
        }
        await self.app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], dict(sent[0]["headers"]), body

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, architectures):
    from millpond.plugin.manager import PluginManager
    from millpond_server.runtime.models import Models, ServedModel
    from millpond_server.runtime.server import build_server
    from millpond_server.runtime.settings import Limits, Settings

    plugins, served = PluginManager(), []
    for name, architecture in architectures.items():
        make = tiny_dual_encoder if architecture == "CLIPModel" else tiny
        folder = make(architecture, tmp_path_factory.mktemp(name) / "model")
        served.append(ServedModel(names=(name,), llm=AsyncLLM(str(folder), plugins=plugins)))
    settings = Settings(log_format="off", limits=Limits(template_seconds=0.5))
    built = build_server(settings, Models(served), registry=plugins.registry)
    built.state.log = Lines()
    server = Server(built.app, built.state.log)
    yield server
    for model in served:
        server.run(model.llm.close())
    server.close()


@pytest.fixture
def records():
    handler = Records()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def faults_of(server, records, mutate, numbers):
    """Return the errors in responses to mutants, and the statuses of the other responses."""
    faults, statuses = [], {}
    for number in numbers:
        request, names = mutate(number)
        lines = len(server.log.written)
        try:
            status, _, body = server.send(request)
        except Exception as error:  # noqa: BLE001  all errors are reported together
            faults.append(f"{number} {names} {request.method} {request.path[:60]}: {error!r}"[:600])
            continue
        statuses[status] = statuses.get(status, 0) + 1
        fault = None
        if (status >= 500 and status not in DOCUMENTED) or records.tracebacks:
            fault = f"{status} {body[:200]!r} {records.tracebacks}"
        elif len(server.log.written) != lines + 1:
            fault = f"{len(server.log.written) - lines} lines in the log"
        elif status >= 400 and len(body) > 40_000:
            fault = f"an error of {len(body)} bytes"
        if fault is not None:
            faults.append(
                f"{number} {names} {request.method} {request.path[:60]} {request.content()[:80]!r}: {fault}"[:1500]
            )
        records.tracebacks.clear()
    return faults, statuses


def test_valid_requests_are_served(server, records, requests):
    """Otherwise all mutants would be refused by their validation."""
    statuses = {(request.method, request.path): server.send(request)[0] for request in requests}
    assert sum(status == 200 for status in statuses.values()) > 0.7 * len(statuses), statuses
    assert not records.tracebacks


def test_no_mutated_request_causes_a_server_error(server, records, mutate):
    faults, statuses = faults_of(server, records, mutate, range(QUICK))
    assert not faults, "\n".join(faults)
    assert {200, 400, 404, 405} <= set(statuses), statuses


@pytest.mark.slow
def test_no_mutated_request_of_many_causes_a_server_error(server, records, mutate):
    faults, _ = faults_of(server, records, mutate, range(QUICK, QUICK + SLOW))
    assert not faults, f"{len(faults)} of {SLOW}:\n" + "\n".join(faults)
