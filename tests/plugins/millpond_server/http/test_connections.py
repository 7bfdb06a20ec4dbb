"""Raw connections: heads too large or too slow, bodies too large, too many connections, and bytes that are not HTTP."""

import concurrent.futures
import json
import socket
import time

import pytest

from millpond_server.http import connection as connection_module

GET = b"GET /live HTTP/1.1\r\nhost: localhost\r\n"


def read_all(connection):
    """Return the bytes that the server sends until it closes the connection."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def answer_of(raw):
    """Return the status, headers and JSON body of a response."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, json.loads(body) if body else None


def post(head=b"", body=b""):
    return (
        b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" + head + b"\r\n" + body
    )


def check_error(raw, status, word):
    actual_status, headers, body = answer_of(raw)
    assert (actual_status, body["error"]["code"], headers["connection"]) == (status, status, "close")
    assert word in body["detail"]
    assert body["detail"] == body["message"] == body["error"]["message"]


# --- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        GET + b"x: " + b"a" * 40_000 + b"\r\n\r\n",
        GET + b"x: 1\r\n" * 101 + b"\r\n",
        b"GET /live?" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        GET + b"x: 1234567\r\n" * 99 + b"y: " + b"b" * 31_900 + b"\r\n\r\n",
    ],
)
def test_a_head_that_is_too_large_is_431(local, head):
    server = local()
    with server.connect() as connection:
        connection.sendall(head)
        check_error(read_all(connection), 431, "head of a request")
    assert server.metric("requests_refused_total", reason="head") == 1


def test_a_head_of_16_mib_is_431_before_it_has_arrived(local):
    server = local()
    with server.connect() as connection:
        connection.sendall(GET + b"x: ")
        sent = 0
        try:
            while sent < 2**24:
                sent += connection.send(b"a" * 65536)
        except ConnectionError:
            pass
        assert sent >= 2**20  # it is read and dropped, so that the answer arrives
        check_error(read_all(connection), 431, "head of a request")


def test_a_head_within_the_limits_is_served(local):
    with local().connect() as connection:
        connection.sendall(GET + b"x: 1\r\n" * 97 + b"y: " + b"a" * 30_000 + b"\r\nconnection: close\r\n\r\n")
        assert answer_of(read_all(connection))[0] == 200


@pytest.mark.parametrize("start", [b"G", b"\r\n", GET, GET + b"x: 1\r\nx"])
def test_a_head_that_does_not_arrive_is_408(local, start):
    server = local(limits={"header_seconds": 0.5})
    with server.connect() as connection:
        connection.sendall(start)
        began = time.monotonic()
        raw = read_all(connection)
        assert 0.3 < time.monotonic() - began < 10
        check_error(raw, 408, "did not arrive")


def test_a_header_that_arrives_byte_by_byte_is_408(local):
    server = local(limits={"header_seconds": 0.5})
    with server.connect() as connection:
        connection.sendall(GET)
        began = time.monotonic()
        while time.monotonic() - began < 10:
            try:
                connection.sendall(b"x: 1\r\n")
            except ConnectionError:
                break
            connection.settimeout(0.05)
            try:
                raw = connection.recv(65536)
                break
            except TimeoutError:
                continue
        check_error(raw, 408, "did not arrive")


def test_the_second_head_of_a_connection_is_held_to_the_same(local):
    with local(limits={"header_seconds": 0.5}).connect() as connection:
        connection.sendall(GET + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        time.sleep(0.8)  # idle: no head has begun
        connection.sendall(GET + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET")
        check_error(read_all(connection), 408, "did not arrive")


def test_pipelined_requests_are_answered_in_their_order(local):
    with local().connect() as connection:
        body = b'{"input": "a boat"}'
        asked = [post(b"content-length: %d\r\nx-request-id: number-%d\r\n" % (len(body), n), body) for n in range(5)]
        connection.sendall(b"".join(asked) + GET + b"connection: close\r\n\r\n")
        raw = read_all(connection)
    assert [raw.find(b"x-request-id: number-%d" % n) > 0 for n in range(5)] == [True] * 5
    assert sorted(range(5), key=lambda n: raw.find(b"x-request-id: number-%d" % n)) == list(range(5))
    assert raw.count(b"HTTP/1.1 200") == 6


@pytest.mark.parametrize(
    "rubbish", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"A: b\r\n\r\n", GET + b"a\x0b: 1\r\n\r\n"]
)
def test_bytes_that_are_not_http_are_400(local, rubbish):
    with local().connect() as connection:
        connection.sendall(rubbish)
        assert answer_of(read_all(connection))[0] == 400


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 3\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 3\r\ncontent-length: 4\r\n",
        b"content-length: -1\r\n",
        b"transfer-encoding: gzip, chunked, x\r\n",
    ],
)
def test_bodies_of_two_lengths_are_refused(local, head):
    with local().connect() as connection:
        connection.sendall(post(head, b"0\r\n\r\n"))
        connection.shutdown(socket.SHUT_WR)
        assert answer_of(read_all(connection))[0] == 400


# --- connections ------------------------------------------------------------------------------------------------------


def test_a_connection_that_idles_is_closed(local):
    server = local(limits={"idle_seconds": 1})
    with server.connect() as fresh, server.connect() as used:
        used.sendall(GET + b"\r\n")
        began = time.monotonic()
        assert read_all(used).startswith(b"HTTP/1.1 200")
        assert read_all(fresh) == b""
        assert 0.5 < time.monotonic() - began < 20


def test_a_connection_over_the_limit_is_503(local):
    server = local(limits={"connections": 3, "header_seconds": 60.0})
    held = [server.connect() for _ in range(3)]
    for connection in held:  # each is accepted before the next
        connection.sendall(GET + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(GET)  # another head begins
    with server.connect() as one_more:
        raw = read_all(one_more)
        check_error(raw, 503, "connections are open")
        assert int(answer_of(raw)[1]["retry-after"]) >= 1
    held.pop().close()
    time.sleep(0.2)
    with server.connect() as connection:
        connection.sendall(GET + b"connection: close\r\n\r\n")
        assert answer_of(read_all(connection))[0] == 200
    for connection in held:
        connection.close()


def test_idle_connections_make_room_for_others(local, monkeypatch):
    """Before, a client without a key could hold all connections and block health checks."""
    monkeypatch.setattr(connection_module, "REPLACEABLE_AFTER_S", 0.0)
    server = local(limits={"connections": 3})
    held = [server.connect() for _ in range(3)]
    for connection in held:
        connection.sendall(GET + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    with server.connect() as one_more:
        one_more.sendall(GET + b"connection: close\r\n\r\n")
        assert answer_of(read_all(one_more))[0] == 200
    assert read_all(held[0]) == b""  # the one that was idle for longest
    for connection in held[1:]:
        connection.sendall(GET + b"connection: close\r\n\r\n")
        assert answer_of(read_all(connection))[0] == 200
    for connection in held:
        connection.close()


def test_trailers_are_not_used_as_headers(local):
    body = b"13\r\n" + b'{"input": "a boat"}' + b"\r\n0\r\nauthorization: Bearer k\r\nx-request-timeout-ms: x\r\n\r\n"
    server = local(api_keys=("k",))
    head = b"transfer-encoding: chunked\r\nconnection: close\r\n"
    for further, status in ((b"", 401), (b"authorization: Bearer k\r\n", 200)):
        with server.connect() as connection:
            connection.sendall(post(head + further, body))
            assert answer_of(read_all(connection))[0] == status


def test_slow_connections_do_not_slow_the_others(local):
    server = local(limits={"header_seconds": 30.0})
    held = [server.connect() for _ in range(200)]
    for connection in held:
        connection.sendall(b"GET /")
    with server.client() as client:
        client.get("/live")
        times = []
        for _ in range(50):
            began = time.perf_counter()
            assert client.get("/live").status_code == 200
            times.append(time.perf_counter() - began)
    for connection in held:
        connection.close()
    assert sorted(times)[25] < 0.1


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_body_stated_too_large_is_413_before_it_is_sent(local):
    with local(limits={"body_bytes": 1000}).connect() as connection:
        connection.sendall(post(b"content-length: 1001\r\n", b"{"))
        check_error(read_all(connection), 413, "over the limit of 1000 bytes")


def test_a_body_of_chunks_is_413_as_soon_as_it_is_too_large(local):
    with local(limits={"body_bytes": 100_000}).connect() as connection:
        connection.sendall(post(b"transfer-encoding: chunked\r\n"))
        sent = 0
        try:
            while sent < 50_000_000:
                connection.sendall(b"10000\r\n" + b"a" * 65536 + b"\r\n")
                sent += 65536
        except ConnectionError:
            pass
        check_error(read_all(connection), 413, "over the limit of 100000 bytes")


def test_clients_get_the_413_of_a_large_body_that_they_send_whole(local):
    with local(limits={"body_bytes": 100_000}).client() as client:
        for _ in range(3):
            answered = client.post("/v1/embeddings", json={"input": "a" * 5_000_000})
            assert (answered.status_code, answered.headers["connection"]) == (413, "close")
        assert client.post("/v1/embeddings", json={"input": "a boat"}).status_code == 200


def test_a_body_that_does_not_arrive_is_408(local):
    with local(limits={"body_seconds": 0.3}).connect() as connection:
        connection.sendall(post(b"content-length: 10\r\n", b'{"in'))
        check_error(read_all(connection), 408, "body did not arrive")


def test_a_client_that_expects_100_gets_100_continue(local):
    with local().connect() as connection:
        connection.sendall(post(b"content-length: 19\r\nexpect: 100-continue\r\nconnection: close\r\n"))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b'{"input": "a boat"}')
        assert answer_of(read_all(connection))[0] == 200


def test_concurrent_calls_each_receive_their_own_result(local):
    server = local(workers=2)
    words = ["a boat", "the sea", "a cat and a dog", "old stone"]

    def ask(number):
        with server.client() as client:
            body = client.post("/v1/embeddings", json={"input": words[number % 4]}).json()
            return number % 4, tuple(body["data"][0]["embedding"])

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        pairs = list(pool.map(ask, range(64)))
    by_word = {}
    for word, vector in pairs:
        by_word.setdefault(word, []).append(vector)
    for vectors in by_word.values():
        for vector in vectors:
            assert vector == pytest.approx(vectors[0], abs=1e-5)
    assert len(by_word) == 4


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/files"])
def test_a_request_without_its_body_is_answered_when_the_server_ends(local, tmp_path, caplog, path):
    server = local(batch_dir=str(tmp_path))
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\n"
    with server.connect() as connection:
        connection.sendall(f"{head}content-length: 100\r\n\r\n--x\r\n".encode())
        deadline = time.monotonic() + 60
        while not server.state.running and time.monotonic() < deadline:
            time.sleep(0.01)
        server.state.end(0)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"the server is shutting down" in answer
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
