"""Pipelined requests in random pieces: each request gets its own response, in order."""

import asyncio
import random
import re

import pytest
import uvicorn
from uvicorn.server import ServerState

from millpond_server.http.connection import MAX_PIPELINED, Connection
from millpond_server.http.slow_readers import SlowReaders
from millpond_server.runtime.settings import Limits

OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
ANSWER = re.compile(rb"HTTP/1\.1 (\d+) [^\r]*\r\n(?:[^\r]+\r\n)*?content-length: (\d+)\r\n(?:[^\r]+\r\n)*\r\n")


async def echo(scope, receive, send):
    """Respond with the path, and the length and sum of the body."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    summary = f"{scope['path']} {len(body)} {sum(body)}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(summary))]})
    await send({"type": "http.response.body", "body": summary})


class Transport(asyncio.Transport):
    """Records written bytes, and whether reading is paused."""

    def __init__(self):
        super().__init__()
        self.written = bytearray()
        self.is_paused = self.is_closed = False

    def get_extra_info(self, name, default=None):
        return default

    def is_closing(self):
        return self.is_closed

    def write(self, data):
        self.written += data

    def get_write_buffer_size(self):
        return 0

    def can_write_eof(self):
        return False

    def close(self):
        self.is_closed = True

    def pause_reading(self):
        self.is_paused = True

    def resume_reading(self):
        self.is_paused = False


def connected():
    config = uvicorn.Config(echo, lifespan="off", ws="none", log_config=None, access_log=False)
    connection = Connection(
        config=config, server_state=ServerState(), app_state={}, limits=Limits(), slow_readers=SlowReaders(2**20)
    )
    transport = Transport()
    connection.connection_made(transport)
    return connection, transport


def request(rng, number):
    """Return the bytes of a request, and the expected body of its response."""
    body = bytes(rng.randrange(256) for _ in range(rng.choice([0, 1, 10, 5000])))
    if rng.random() < 0.3:
        body = b"GET /not-a-request HTTP/1.1\r\n\r\n" * 5
    offer = OFFER if rng.random() < 0.3 else b""
    head = b"/%d HTTP/1.1\r\nhost: a\r\n" % number + offer
    kind = rng.choice(["get", "length", "chunks"])
    if kind == "get":
        return b"GET " + head + b"\r\n", f"/{number} 0 0"
    summary = f"/{number} {len(body)} {sum(body)}"
    if kind == "length":
        return b"POST " + head + b"content-length: %d\r\n\r\n" % len(body) + body, summary
    chunks, rest = b"", body
    while rest:
        size = rng.randrange(1, len(rest) + 1)
        chunks += b"%x\r\n" % size + rest[:size] + b"\r\n"
        rest = rest[size:]
    return b"POST " + head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", summary


def answers(written):
    """Return the statuses and bodies of responses."""
    responses, end_of_last = [], 0
    while match := ANSWER.match(written, end_of_last):
        end = match.end() + int(match[2])
        responses.append((int(match[1]), bytes(written[match.end() : end]).decode()))
        end_of_last = end
    assert end_of_last == len(written), written[end_of_last:]
    return responses


async def sent(rng, data, done):
    """Send data in pieces; return the written bytes, and whether the connection was closed."""
    connection, transport = connected()
    position = 0
    for _ in range(100_000):
        if position < len(data) and not transport.is_paused and not transport.is_closed:
            size = rng.choice([1, 7, 100, 4096, len(data)])
            connection.data_received(data[position : position + size])
            position += size
            assert len(connection.pipeline) <= MAX_PIPELINED + 2
        if rng.random() < 0.7 or transport.is_paused or position >= len(data):
            await asyncio.sleep(0)
        if position >= len(data) and done(transport.written):
            break
    closed = connection.transport.is_closing()
    connection.connection_lost(None)
    return transport.written, closed


@pytest.mark.parametrize("seed", range(30))
def test_each_request_of_a_pipeline_is_answered_in_order_however_it_is_cut(seed):
    rng = random.Random(seed)
    requests = [request(rng, number) for number in range(rng.choice([1, 3, 60]))]
    data = b"".join(one for one, _ in requests)
    written, closed = asyncio.run(sent(rng, data, lambda written: written.count(b"HTTP/1.1 200") == len(requests)))
    assert answers(written) == [(200, summary) for _, summary in requests]
    assert not closed


@pytest.mark.parametrize("seed", range(20))
def test_invalid_bytes_in_any_pieces_end_a_pipeline_with_400(seed):
    rng = random.Random(seed)
    requests = [request(rng, number) for number in range(rng.choice([0, 1, 40]))]
    data = b"".join(one for one, _ in requests) + rng.choice(
        [b"\x16\x03\x01", b"no HTTP at all\r\n\r\n", b"GET\x00 / "]
    )
    written, closed = asyncio.run(sent(rng, data + b"x" * 50, lambda written: b"HTTP/1.1 400" in written))
    assert closed
    responses = answers(written)
    assert responses[:-1] == [(200, summary) for _, summary in requests]
    assert responses[-1][0] == 400
