"""A separate port for metrics and health checks."""

import re

import httpx2
import pytest

from millpond_server.runtime.settings import Settings
from millpond_server.runtime.sockets import bind


def test_metrics_are_only_on_their_port_and_need_no_key(local):
    server = local(metrics_port=0, api_keys=("right",))
    key = {"authorization": "Bearer right"}
    with server.client(headers=key) as client, httpx2.Client(base_url=server.metrics, timeout=30.0) as watcher:
        assert client.post("/v1/embeddings", json={"input": "a boat"}).status_code == 200
        assert client.get("/metrics").status_code == 404
        assert "/metrics" not in client.get("/openapi.json").json()["paths"]
        assert client.get("/health").status_code == 200
        metrics = watcher.get("/metrics")
        assert metrics.status_code == 200
        served = r'millpond_requests_total\{method="POST",route="/v1/embeddings",status="200"\} 1\.0'
        assert re.search(served, metrics.text)
        assert {watcher.get(path).status_code for path in ("/live", "/health", "/ready", "/ping")} == {200}
        assert watcher.get("/v1/models").status_code == 404
        assert watcher.get("/docs").status_code == 404
        assert watcher.post("/v1/embeddings", json={"input": "a boat"}).status_code == 404
        server.state.draining = True
        assert watcher.get("/ready").status_code == 503


def test_without_it_metrics_are_with_the_rest(local):
    server = local()
    assert server.metrics is None
    with server.client() as client:
        assert client.get("/metrics").status_code == 200


@pytest.mark.slow
def test_the_overview_contains_the_url_of_the_metrics(folder, serving):
    with serving(folder, "--metrics-port", "0", "--metrics-host", "127.0.0.2") as running:
        (metrics,) = re.findall(r"http://127\.0\.0\.2:\d+/metrics", "".join(running.lines))
        assert f"{running.address}/metrics" not in "".join(running.lines)
        assert "millpond_engine_up" in httpx2.get(metrics, timeout=30.0).text
    assert running.process.returncode == 0


def test_the_port_of_the_server_itself_is_refused():
    with pytest.raises(ValueError, match="--metrics-port 8000 is the port of the API"):
        bind(Settings(metrics_port=8000))
    sockets = bind(Settings(port=0, metrics_port=0, host="127.0.0.1"))
    sockets.api.close()
    sockets.metrics.close()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", sockets.metrics_url)
