"""Limits on nesting, digits and lengths of what clients send, and the targets of redirects."""

import gzip
import json

import httpx2
import pytest

DEEP = "[" * 1000 + "]" * 1000
FIT = "[" * 63 + "]" * 63


@pytest.fixture(scope="module")
def client(minilm_server):
    with minilm_server.client() as client:
        yield client


def post(client, body, path="/v1/embeddings", **headers):
    return client.post(path, content=body, headers={"content-type": "application/json", **headers})


@pytest.mark.parametrize(
    "body", [f'{{"input": "a", "unknown": {DEEP}}}', f'{{"unknown": {DEEP}}}', f'{{"model": {DEEP}}}']
)
def test_a_body_that_nests_too_deep_is_refused(client, body):
    answer = post(client, body)
    assert answer.status_code == 400
    assert "more than 64 levels" in answer.json()["detail"]


def test_a_validation_error_shows_little_of_nested_values(client):
    answer = post(client, f'{{"input": "a", "user": {FIT}}}')
    assert answer.status_code == 400
    assert "user: Input should be a valid string (type=string_type, input=[[[[[...]]]]])" in answer.json()["detail"]


def test_a_body_may_nest_as_deep_as_the_limit(client):
    assert post(client, f'{{"input": "a", "unknown": {FIT}}}').status_code == 200


def test_a_compressed_body_is_415_and_not_decompressed(client):
    body = gzip.compress(b'{"input": "tea"}')
    headers = {"content-type": "application/json", "content-encoding": "GZIP"}
    answer = client.post("/v1/embeddings", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (415, "content-encoding")
    assert "send the body uncompressed" in answer.json()["error"]["message"]
    headers["content-encoding"] = "identity"
    assert client.post("/v1/embeddings", content=gzip.decompress(body), headers=headers).status_code == 200


def test_an_error_lists_few_of_many_faults(client):
    answer = post(client, json.dumps({"tokens": [[5]] * 3000}), "/detokenize")
    detail = answer.json()["detail"]
    assert answer.status_code == 400
    assert detail.startswith("3000 validation errors:")
    assert detail.endswith("and 2980 more")
    assert len(answer.content) < 15_000


@pytest.mark.parametrize("stated", ["²", "٣", "9" * 5000, "1" * 400, "-1", "0", "1e3", "1_0", " ", "1.5"])
def test_a_deadline_must_be_a_number_of_milliseconds(minilm_server, raw_head, stated):
    status, detail = raw_head(minilm_server, stated.encode())
    assert status == 400
    assert "x-request-timeout-ms" in detail
    assert len(detail) < 300


@pytest.fixture
def raw_head():
    """Send a timeout header as bytes, which HTTP clients would refuse to send."""
    import socket

    def send(running, stated):
        host, _, port = running.address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            head = b"POST /v1/embeddings HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            body = b'{"input": "a boat"}'
            rest = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            connection.sendall(head + b"x-request-timeout-ms: " + stated + b"\r\n" + rest + body)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        head, _, answer = b"".join(parts).partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(answer)["detail"]

    return send


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/live/", "../live"),
        ("/live//", "../../live"),
        ("/v1/embeddings/?a=b&c=%20", "../embeddings?a=b&c=%20"),
        ("/v1/embeddings/?a=b", "../embeddings?a=b"),
    ],
)
def test_a_redirect_is_relative_and_takes_no_host_from_the_client(client, path, target):
    answer = client.get(path, headers={"host": "localhost"})
    assert (answer.status_code, answer.headers["location"]) == (307, target)
    assert client.get("/live/", follow_redirects=True).status_code == 200


def test_a_path_that_looks_like_a_host_is_not_redirected_to(client):
    url = httpx2.URL(str(client.base_url)).copy_with(raw_path=b"//evil.example/")
    assert client.get(url).status_code == 404


def test_an_invalid_host_header_does_not_break_the_response(client):
    for host in ("[", "a b", "[::1", "a:b:c"):
        assert client.get("/nowhere", headers={"host": host}).status_code in (400, 404, 421)
