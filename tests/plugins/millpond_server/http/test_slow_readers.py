"""Clients that do not read their responses: the memory of all together is limited, and the slowest are disconnected."""

import asyncio
import json
import time
from contextlib import ExitStack

import numpy as np
import pytest

from millpond_server.http import slow_readers as module
from millpond_server.http.json_stream import STREAM_ABOVE_BYTES, JsonStream, json_response
from millpond_server.http.slow_readers import SlowReaders


class FakeReader:
    def __init__(self, held_bytes):
        self.held_bytes, self.read_bytes, self.is_ended = held_bytes, 0, False

    def end_unread(self):
        self.is_ended = True


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "MIN_AGE_S", 0.05)


@pytest.mark.usefixtures("quick")
def test_the_slowest_readers_are_ended_until_the_rest_is_within_the_limit():
    async def run():
        readers = SlowReaders(100)
        fast, slow, slowest, new = (FakeReader(60) for _ in range(4))
        for reader in (fast, slow, slowest):
            readers.add(reader)
        fast.read_bytes, slow.read_bytes = 5000, 50
        await asyncio.sleep(0.2)
        assert [reader.is_ended for reader in (fast, slow, slowest)] == [False, True, True]
        assert readers.held_bytes == 60
        readers.add(new)
        assert not new.is_ended
        readers.remove(fast)
        await asyncio.sleep(0.2)
        assert not new.is_ended

    asyncio.run(run())


@pytest.mark.usefixtures("quick")
def test_a_single_reader_may_exceed_the_limit():
    async def run():
        readers, reader = SlowReaders(100), FakeReader(1000)
        readers.add(reader)
        await asyncio.sleep(0.2)
        assert not reader.is_ended

    asyncio.run(run())


def ask(connection, body):
    head = b"POST /pooling HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)


def test_many_clients_that_do_not_read_hold_a_limited_amount(local, monkeypatch):
    monkeypatch.setattr(module, "MIN_AGE_S", 0.2)
    server = local(limits={"unread_bytes": 5_000_000, "unread_seconds": 300.0})
    body = json.dumps({"input": ["the old mill by the pond " * 3] * 1300, "task": "token_embed"}).encode()
    with ExitStack() as connections:
        for _ in range(4):
            ask(connections.enter_context(server.connect()), body)
        deadline = time.monotonic() + 60
        while (server.metric("requests_refused_total", reason="slow_reader") or 0) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert server.state.slow_readers.held_bytes > 0
    with server.client() as client:
        answer = client.post("/pooling", content=body, headers={"content-type": "application/json"})
        assert len(answer.json()["data"]) == 1300
    while server.state.slow_readers.held_bytes:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stream_sends_its_first_parts_one_by_one_and_reports_its_memory():
    array = np.random.default_rng(0).standard_normal((3000, 500)).astype(np.float32)
    sizes, reported, scope = [], [], {}

    async def run():
        async def receive():
            await asyncio.Event().wait()

        async def send(message):
            sizes.append(len(message.get("body", b"")))
            reported.append(scope["millpond.unsent"])

        response = await json_response({"data": [{"embedding": row} for row in array]})
        assert isinstance(response, JsonStream)
        await response(scope, receive, send)

    asyncio.run(run())
    assert sum(sizes) > STREAM_ABOVE_BYTES
    assert max(sizes) < STREAM_ABOVE_BYTES / 2
    assert min(reported) > array.nbytes
    assert scope == {}
