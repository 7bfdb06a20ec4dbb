"""Requests on one connection: pipelined, unread, followed by bytes that are not HTTP, and with protocol upgrades."""

import json
import re
import socket
import sys
import time
from pathlib import Path

import pytest

MIB = 2**20
PATIENCE = 60  # seconds
GET = b"GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\n"
BODY = b'{"input": "a boat"}'
POST = b"POST /v1/embeddings HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
OFFERS = {
    "java": b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n",
    "curl": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "websocket": b"connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n",
    "only upgrade": b"upgrade: h2c\r\n",
}


def read_all(connection):
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def statuses(raw):
    """Return the statuses of responses, in order."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", raw)]


def post(headers=b"", body=BODY):
    return POST + headers + b"content-length: %d\r\n\r\n" % len(body) + body


def close():
    return b"connection: close\r\n\r\n"


# --- offers of another protocol ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("apart", [False, True])
def test_a_post_that_offers_an_upgrade_is_served_as_http_1(local, offer, apart):
    with local().connect() as connection:
        head = POST + OFFERS[offer] + b"content-length: %d\r\n\r\n" % len(BODY)
        if apart:  # the body comes after the head was parsed
            connection.sendall(head + BODY[:1])
            time.sleep(0.05)
            connection.sendall(BODY[1:] + GET + close())
        else:
            connection.sendall(head + BODY + GET + close())
        raw = read_all(connection)
    assert statuses(raw) == [200, 200]
    assert b"embedding" in raw


def test_an_upgrade_with_chunks_and_one_without_a_body_are_served(local):
    with local().connect() as connection:
        chunked = b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"
        connection.sendall(POST + OFFERS["java"] + chunked + GET + OFFERS["curl"] + b"\r\n" + GET + close())
        assert statuses(read_all(connection)) == [200, 200, 200]


def test_connect_is_refused(local):
    with local().connect() as connection:
        connection.sendall(b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n")
        assert statuses(read_all(connection)) == [405]


def test_http_2_with_prior_knowledge_is_refused(local):
    with local().connect() as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert statuses(read_all(connection)) == [400]


# --- pipelines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rubbish", [b"\x16\x03\x01\x02\x00", b"A: b\r\n\r\n", b"GET /\x01 HTTP/1.1\r\n\r\n", b"\xff" * 9]
)
@pytest.mark.parametrize("first", [GET + b"\r\n", post()])
def test_invalid_bytes_after_a_request_are_400_after_its_response(local, first, rubbish):
    server = local()
    with server.connect() as connection:
        connection.sendall(first + rubbish)
        raw = read_all(connection)
    assert statuses(raw) == [200, 400]
    assert server.metric("requests_refused_total", reason="http") == 1


def test_good_and_bad_requests_of_a_pipeline_are_answered_in_order(local):
    bad = [post(body=b"{"), post(body=b'{"input": 5}'), b"GET /nowhere HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"]
    with local().connect() as connection:
        connection.sendall(post() + bad[0] + GET + b"\r\n" + bad[1] + post() + bad[2] + b"no HTTP\r\n\r\n" + post())
        raw = read_all(connection)
    assert statuses(raw) == [200, 400, 200, 400, 200, 404, 400]
    assert raw.rstrip().endswith(b"}")


def test_a_head_too_large_after_a_request_is_431_after_its_answer(local):
    with local().connect() as connection:
        connection.sendall(post() + GET + b"x: " + b"a" * 40_000 + b"\r\n\r\n")
        assert statuses(read_all(connection)) == [200, 431]


def test_an_invalid_chunk_is_400_after_the_preceding_answers(local):
    broken = POST + b'transfer-encoding: chunked\r\n\r\n5\r\n{"inp\r\nrubbish\r\n'
    for before in (b"", GET + b"\r\n", post() + post()):
        with local().connect() as connection:
            connection.sendall(before + broken)
            assert statuses(read_all(connection)) == [200] * before.count(b" HTTP/1.1\r\n") + [400]


def test_hundreds_of_pipelined_requests_are_all_answered_in_order(local):
    with local().connect() as connection:
        asked = b"".join(GET + b"x-request-id: n-%d\r\n\r\n" % n for n in range(500))
        connection.sendall(asked + post(b"x-request-id: last\r\n") + GET + close())
        raw = read_all(connection)
    assert statuses(raw) == [200] * 502
    positions = [raw.find(b"x-request-id: n-%d\r\n" % n) for n in range(500)]
    assert positions == sorted(positions)
    assert positions[0] > 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it measures memory as Linux does")
def test_pipelines_that_are_not_read_take_little_memory(minilm_server):
    """Before the limit, 20 connections took 113 MiB."""
    host, _, port = minilm_server.address.removeprefix("http://").partition(":")
    status = Path(f"/proc/{minilm_server.process.pid}/status")

    def memory():
        return int(status.read_text(encoding="ascii").partition("VmRSS:")[2].split()[0]) * 1024

    with minilm_server.client() as client:
        size = len(client.get("/openapi.json").content)
        before = memory()
        held = []
        for _ in range(20):
            connection = socket.create_connection((host, int(port)), timeout=60)
            connection.setblocking(False)
            asked = (
                b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" + b"GET /live HTTP/1.1\r\n\r\n" * 50
            ) * 400
            try:
                while asked:
                    asked = asked[connection.send(asked) :]
            except BlockingIOError:
                pass
            held.append(connection)
        assert client.get("/live").status_code == 200
        grown = memory() - before
        for connection in held:
            connection.close()
    sys.stdout.write(f"{grown / MIB:.1f} MiB for 20 connections; an answer has {size / MIB:.2f} MiB\n")
    assert grown < 20 * 3 * size + 4 * MIB


def test_a_client_that_does_not_read_its_answer_is_cut_off(local):
    server = local(limits={"unread_seconds": 0.3, "connections": 1})
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 200)
        end = time.monotonic() + PATIENCE
        status = 503
        while status == 503:  # until the place of the one connection is free
            assert time.monotonic() < end, "it was not cut off"
            with server.client() as client:
                status = client.get("/live").status_code
        assert status == 200


# --- bodies after the answer ------------------------------------------------------------------------------------------


def test_a_body_that_is_not_sent_does_not_hold_a_connection_after_the_answer(local):
    """Before, 32 clients that each sent a byte after a 401 could occupy all of 32 connections."""
    server = local(limits={"connections": 4, "body_seconds": 60.0}, api_keys=("k",))
    held = [server.connect() for _ in range(3)]
    for connection in held:
        connection.sendall(POST + b"content-length: 100\r\n\r\n")
        head = connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 401")
        assert b"connection: close" in head.lower()
        connection.sendall(b"{")
    for connection in held:
        read_all(connection)  # until the server closes
    with server.client() as client:
        assert client.get("/live").status_code == 200
    for connection in held:
        connection.close()


def test_a_connection_is_kept_open_where_the_body_came_whole(local):
    with local(api_keys=("k",)).connect() as connection:
        connection.sendall(post() + post(b"authorization: Bearer k\r\n") + GET + close())
        raw = read_all(connection)
    assert statuses(raw) == [401, 200, 200]
    assert json.loads(raw.split(b"\r\n\r\n")[2].partition(b"HTTP/1.1")[0])["data"]
