"""API keys, routes without keys, and CORS."""

import os
import time

import pytest

from millpond_server.http.keys import ApiKeys

PUBLIC = {"/live", "/health", "/ready", "/ping", "/playground", "/playground/main.js"}


def test_without_keys_all_may(local):
    with local().client() as client:
        assert client.get("/v1/models").status_code == 200


def walk(app):
    """Return the method and path of all mounted routes and pages."""
    while not hasattr(app, "routes"):
        app = app.app
    return sorted((method, route.path) for route in app.routes for method in route.methods)


def test_every_route_but_liveness_and_the_playground_needs_a_key(local, plugin_manager, folder):
    from millpond import AsyncLLM
    from millpond_server.runtime.models import Models, ServedModel
    from millpond_server.runtime.server import build_server
    from millpond_server.runtime.settings import Settings

    llm = AsyncLLM(folder, num_workers=1)
    llm.engine.close()
    models, settings = Models([ServedModel(names=("tiny",), llm=llm)]), Settings(log_format="off", allowed_hosts=("*",))
    table = walk(build_server(settings, models, registry=plugin_manager.registry).app)
    assert ("POST", "/pooling") in table
    assert ("GET", "/openapi.json") in table
    with local(api_keys=("right",)).client() as client:
        for method, route in table:
            path = route.replace("{id:path}", "tiny").replace("{file:path}", "main.js")
            status = client.request(method, path).status_code
            assert (status == 401) == (path not in PUBLIC), (method, path, status)
            if path in PUBLIC and method != "HEAD":
                assert status == 200
        for path in ("/", "/nope", "/health/", "/health/x", "//health", "/HEALTH", "/live%2f", "/playground/../info"):
            assert client.get(path).status_code == 401, path


CASES = [
    ({"authorization": "Bearer right"}, 200),
    ({"authorization": "bEaReR   right"}, 200),
    ({"authorization": "Bearer second"}, 200),
    ({"x-api-key": "right"}, 200),
    ({"api-key": "second"}, 200),
    ({"authorization": "Bearer wrong", "x-api-key": "right"}, 200),
    ({}, 401),
    ({"authorization": "Bearer wrong"}, 401),
    ({"authorization": "Bearer"}, 401),
    ({"authorization": "Bearer right second"}, 401),
    ({"authorization": "Basic right"}, 401),
    ({"authorization": "right"}, 401),
    ({"authorization": "Bearer rïght"}, 401),
    ({"x-api-key": "\udcff".encode("utf-8", "surrogateescape")}, 401),
    ({"authorization": "Bearer " + "x" * 5000}, 401),
]


def test_keys(local):
    with local(api_keys=("right", "second")).client() as client:
        for headers, status in CASES:
            sent = {name: value if isinstance(value, bytes) else value.encode() for name, value in headers.items()}
            answered = client.get("/v1/models", headers=sent)
            assert answered.status_code == status, headers
            if status == 401:
                body = answered.json()
                assert body["error"]["type"] == "AuthenticationError"
                assert body["detail"] == body["message"] == body["error"]["message"]
                assert answered.headers["www-authenticate"] == "Bearer"
                assert "wrong" not in answered.text


def test_models_and_metrics_may_be_public(local):
    with local(api_keys=("right",), public_models=True, public_metrics=True).client() as client:
        assert [client.get(path).status_code for path in ("/v1/models", "/models", "/metrics")] == [200, 200, 200]
        assert client.get("/v1/models/tiny").status_code == 401
        assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 401


def test_a_file_of_keys_is_read_again_after_a_change(tmp_path, monkeypatch, caplog):
    from millpond_server.http import keys

    monkeypatch.setattr(keys, "FILE_CHECK_INTERVAL_S", 0.0)
    file = tmp_path / "keys.txt"
    file.write_text("# of the team\nfirst\n\n second \n", encoding="utf-8")
    ring = keys.ApiKeys(["given"], str(file))
    assert [ring.is_valid(key) for key in (b"given", b"first", b"second", b"# of the team", b"")] == [True] * 3 + [
        False
    ] * 2
    file.write_text("third\n", encoding="utf-8")
    os.utime(file, ns=(time.time_ns(), time.time_ns() + 1_000_000))
    assert [ring.is_valid(key) for key in (b"given", b"first", b"third")] == [True, False, True]
    file.write_text("", encoding="utf-8")
    os.utime(file, ns=(time.time_ns(), time.time_ns() + 2_000_000))
    assert ring.is_valid(b"third")
    file.unlink()
    assert ring.is_valid(b"third")
    assert "are not changed" in caplog.text
    with pytest.raises(OSError, match=r"keys\.txt"):
        keys.ApiKeys([], str(file))


def test_a_key_file_without_keys_is_an_error(tmp_path):
    from millpond_server.http.keys import ApiKeys

    (tmp_path / "keys").write_text("# none yet\n", encoding="utf-8")
    with pytest.raises(ValueError, match="contains no API key"):
        ApiKeys([], str(tmp_path / "keys"))


def test_every_key_is_compared_even_after_a_match(monkeypatch):
    from millpond_server.http import keys

    compared = []
    monkeypatch.setattr(keys, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    ring = keys.ApiKeys(["a", "b", "c"])
    for key in (b"a", b"c", b"nope"):
        compared.clear()
        ring.is_valid(key)
        assert len(compared) == 3
        assert {len(one) for pair in compared for one in pair} == {32}


# --- browsers ---------------------------------------------------------------------------------------------------------

ASKS = {"origin": "https://shop.example", "access-control-request-method": "POST"}


def test_no_page_of_another_site_may_read_anything(local):
    with local().client() as client:
        answered = client.get("/v1/models", headers={"origin": "https://shop.example"})
        assert "access-control-allow-origin" not in answered.headers
        assert client.options("/v1/embeddings", headers=ASKS).status_code == 405
        sent = {"origin": "https://shop.example", "content-type": "text/plain"}
        assert client.post("/v1/embeddings", content=b'{"input": "a"}', headers=sent).status_code == 400


def test_pages_of_named_sites_may(local):
    with local(cors_origins=("https://shop.example",), api_keys=("right",)).client() as client:
        assert client.options("/v1/embeddings", headers=ASKS).headers["access-control-allow-origin"] == ASKS["origin"]
        asks_to_delete = {**ASKS, "access-control-request-method": "DELETE"}
        assert client.options("/v1/files/file-1", headers=asks_to_delete).status_code == 200
        other = client.options("/v1/embeddings", headers={**ASKS, "origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        refused = client.get("/v1/models", headers={"origin": ASKS["origin"]})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ASKS["origin"])


def test_the_root_path_is_removed_if_the_proxy_keeps_it(local):
    with local(root_path="/ml/v2", api_keys=("right",)).client() as client:
        headers = {"authorization": "Bearer right"}
        assert client.get("/ml/v2/health").status_code == client.get("/health").status_code == 200
        assert client.get("/ml/v2/v1/models", headers=headers).status_code == 200
        assert client.get("/ml/v2/v1/models").status_code == 401
        assert client.get("/ml/v2x/health").status_code == 401


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfvisible\r\nother\r\n",
        "visible\r\nother\r\n".encode("utf-16"),
        b"# keys\r\n  visible  \r\n\r\nother",
    ],
)
def test_a_key_file_may_have_any_line_ends_and_a_byte_order_mark(tmp_path, content):
    file = tmp_path / "keys.txt"
    file.write_bytes(content)
    keys = ApiKeys((), str(file))
    assert keys.is_valid(b"visible")
    assert keys.is_valid(b"other")
    assert not keys.is_valid(b"\xef\xbb\xbfvisible")


def test_a_key_file_that_is_not_text_is_an_error(tmp_path):
    file = tmp_path / "keys.txt"
    file.write_bytes(b"key\xff\xfe")
    with pytest.raises(ValueError, match=r"keys\.txt is not UTF-8 text: invalid start byte at byte 3"):
        ApiKeys((), str(file))
