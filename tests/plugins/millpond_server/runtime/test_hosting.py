"""Test the application for servers of other programs: paths below a prefix, host names, models of other processes."""

import asyncio
import json
from functools import partial

import pytest

from millpond.testing.checkpoints import tiny
from millpond_command.clusters import ServedModels
from millpond_server.runtime.hosting import HostedApplication

PREFIX = "/prefix"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny("BertModel", tmp_path_factory.mktemp("hosting") / "bert")


@pytest.fixture
def loop():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def send(loop):
    """Return a function that sends a request as a server does that serves the application below PREFIX."""
    return partial(respond, loop)


@pytest.fixture
def host(folder, loop):
    """Return a function that creates an application with settings; it is closed at the end of the test."""
    hosted = []

    def start(**more):
        settings = {"api_keys": ("right",)} | more.pop("settings", {})
        models = ServedModels(names={str(folder): ("tiny",)}, arguments={"num_workers": 1}, settings=settings, **more)
        hosted.append(HostedApplication(models))
        return hosted[-1]

    yield start
    for application in hosted:
        loop.run(application.close())


def respond(loop, application, method, path, body=None, *, key="right", host="127.0.0.1"):
    """Return the status and the body of a response."""
    sent, received = [], iter([{"type": "http.request", "body": json.dumps(body).encode() if body else b""}])

    async def receive():
        message = next(received, None)
        return message if message is not None else await asyncio.Event().wait()  # the client stays connected

    async def send_message(message):
        sent.append(message)

    headers = [
        ("host", host),
        ("content-type", "application/json"),
        *([("authorization", f"Bearer {key}")] * bool(key)),
    ]
    scope = {
        "type": "http",
        "method": method,
        "path": PREFIX + path,
        "root_path": PREFIX,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    loop.run(application(scope, receive, send_message))
    content = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], content


def test_prefix_of_the_other_server_is_not_part_of_the_routes(host, send):
    application = host()
    assert send(application, "GET", "/health", key=None)[0] == 200
    assert send(application, "GET", "/v1/models", key=None)[0] == 401
    assert send(application, "GET", "/v1/models")[0] == 200
    assert send(application, "GET", "/v1/models/tiny")[0] == 200
    status, content = send(application, "POST", "", {"inputs": "the cat"})  # text-embeddings-inference's root
    assert (status, len(json.loads(content)[0])) == (200, 32)


def test_any_host_name_is_accepted_unless_names_are_set(host, send):
    assert send(host(), "GET", "/v1/models", host="models.example")[0] == 200
    limited = host(settings={"allowed_hosts": ("models.example",)})
    assert send(limited, "GET", "/v1/models", host="models.example")[0] == 200
    assert send(limited, "GET", "/v1/models", host="other.example")[0] == 421
    local = host(settings={"host": "127.0.0.1"})
    assert send(local, "GET", "/v1/models", host="models.example")[0] == 421


def test_error_for_an_unknown_model_names_those_of_other_processes(host, send):
    status, content = send(host(elsewhere=("second",)), "POST", "/v1/embeddings", {"input": "a", "model": "third"})
    assert status == 404
    assert "This server has: tiny, second" in json.loads(content)["error"]["message"]


def test_maximum_size_of_a_body_is_that_of_the_settings(host):
    assert host().max_body_bytes == 32 * 2**20
    assert host(settings={"limits": {"body_bytes": 1000}}).max_body_bytes == 1000
