"""Allowed host names of requests; responses do not reveal paths of the machine."""

import httpx2
import pytest

from millpond_server.http.hosts import hosts_of, is_allowed
from millpond_server.runtime.settings import Settings, validated

LOOPBACK = ("localhost", "*.localhost")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, LOOPBACK),
        ({"host": "127.0.0.2"}, LOOPBACK),
        ({"host": "::1"}, LOOPBACK),
        ({"host": "localhost"}, LOOPBACK),
        ({"allowed_hosts": ("API.example.",)}, ("api.example", *LOOPBACK)),
        ({"host": "0.0.0.0"}, None),
        ({"host": "192.0.2.1"}, None),
        ({"host": "box.example"}, None),
        ({"host": "0.0.0.0", "allowed_hosts": ("a.example", "*.b.example")}, ("a.example", "*.b.example")),
        ({"host": "box.example", "allowed_hosts": ("a.example",)}, ("a.example", "box.example")),
        ({"uds": "/tmp/socket"}, None),
        ({"uds": "/tmp/socket", "allowed_hosts": ("a.example",)}, ("a.example",)),
    ],
)
def test_the_names_of_a_server_follow_from_where_it_listens(settings, names):
    assert hosts_of(Settings(**settings)) == names


@pytest.mark.parametrize(
    ("stated", "allowed"),
    [
        *(
            (host, True)
            for host in ("localhost", "LocalHost:8000", "a.localhost", "api.example", "API.example.:80", "")
        ),
        *(
            (host, True)
            for host in ("127.0.0.1:8000", "10.0.0.7", "[::1]:8000", "[fe80::1]", "x.b.example", "y.x.b.example")
        ),
        *((host, False) for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "notlocalhost")),
        *(
            (host, False)
            for host in ("b.example", "api.example@evil.example", "[", "[::1", "a b", "api.example/", "a:b:c")
        ),
        *((host, False) for host in ("127.0.0.1.evil.example", "api.example,evil.example", "0x7f.1", "\xe9vil")),
    ],
)
def test_only_names_of_the_server_and_addresses_are_allowed(stated, allowed):
    assert is_allowed(stated, (*LOOPBACK, "api.example", "*.b.example")) == allowed


def test_any_name_is_allowed_with_a_star():
    assert is_allowed("evil.example", ("*",))


@pytest.mark.parametrize("name", ["a/b", "a:80", "", "a b", "*x", "a.*", "https://a"])
def test_invalid_host_names_are_refused_as_settings(name):
    with pytest.raises(ValueError, match="allowed_hosts"):
        validated({"allowed_hosts": (name,)})


def test_an_unknown_host_name_is_refused_on_a_loopback_address(local):
    server = local(allowed_hosts=("api.example",), metrics_port=0)
    with server.client() as client:
        for path in ("/v1/models", "/docs", "/nowhere", "/metrics"):
            response = client.get(path, headers={"host": "evil.example"})
            assert response.status_code == 421
            assert "'evil.example' is not one of this server's names" in response.json()["detail"]
            assert "--allowed-host" in response.json()["detail"]
        response = client.post("/v1/embeddings", json={"input": "a"}, headers={"host": "evil.example:8000"})
        assert response.status_code == 421
        for host in ("api.example", "localhost", "10.1.2.3:80", f"127.0.0.1:{server.port}"):
            assert client.get("/v1/models", headers={"host": host}).status_code == 200
        for path in ("/live", "/health", "/ready", "/ping"):  # probes ask by any name
            assert client.get(path, headers={"host": "evil.example"}).status_code == 200
        assert server.metric("requests_refused_total", reason="host") == 5
    assert httpx2.get(f"{server.metrics}/metrics", headers={"host": "evil.example"}).status_code == 421
    assert httpx2.get(f"{server.metrics}/metrics").status_code == 200


def test_two_hosts_of_which_one_is_unknown_are_refused(local):
    with local().connect() as connection:
        connection.sendall(
            b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\nconnection: close\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 421")


def test_a_request_without_a_host_is_served(local):
    with local().connect() as connection:
        connection.sendall(b"GET /v1/models HTTP/1.0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_the_list_of_models_contains_no_local_folder(local, folder):
    with local().client() as client:
        for path in ("/v1/models", "/v1/models/tiny", "/infinity/models", "/tei/info", "/info", "/openapi.json"):
            response = client.get(path)
            assert response.status_code == 200
            assert folder not in response.text
        assert client.get("/v1/models").json()["data"][0]["root"] == "tiny"
