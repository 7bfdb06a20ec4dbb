"""All requests over HTTP have an id, timings, a line in the log, and metrics."""

import json
import re

import pytest
from waiting import eventually

SECRET = "the old mill by the pond"


def embed(client, text="a boat", **more):
    return client.post("/v1/embeddings", json={"input": text}, **more)


# --- ids --------------------------------------------------------------------------------------------------------------


def test_every_response_has_the_id_of_its_request(local):
    with local(api_keys=("key",)).client() as client:
        id_header = {"x-request-id": "order-66.a_B"}
        known = {**id_header, "authorization": "Bearer key"}
        for path, headers in (("/health", id_header), ("/v1/models", known), ("/nope", known), ("/nope", id_header)):
            assert client.get(path, headers=headers).headers["x-request-id"] == "order-66.a_B"
        assert embed(client, headers=known).json()["id"].endswith("order-66.a_B")
        assert embed(client, "", headers=known).headers["x-request-id"] == "order-66.a_B"


def test_an_id_that_is_not_plain_is_replaced(local):
    with local().client() as client:
        for brought in ("", "a b", "x" * 65, "é", "a\tb", "<script>", "a/b", "ab\u2028"):
            answered = client.get("/live", headers={"x-request-id": brought.encode("utf-8")})
            assert answered.status_code == 200
            assert re.fullmatch(r"[0-9a-f]{32}", answered.headers["x-request-id"]), brought


def test_requests_without_an_id_get_one_each(local):
    with local().client() as client:
        assert len({client.get("/live").headers["x-request-id"] for _ in range(5)}) == 5


# --- times ------------------------------------------------------------------------------------------------------------


def test_server_timing_contains_all_stages(local):
    with local().client() as client:
        timing = embed(client).headers["server-timing"]
        assert "server-timing" not in client.get("/health").headers
    times = {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", timing)}
    assert list(times) == ["tokenise", "queue", "compute", "total"]
    assert 0 < times["compute"] <= times["total"] < 60_000


def test_truncated_inputs_are_counted_in_a_header(local):
    long = "mill " * 1000
    with local().client() as client:
        truncated = client.post("/v1/embeddings", json={"input": [long, "a", long], "truncate_prompt_tokens": 8})
        assert truncated.headers["x-millpond-truncated"] == "2"
        assert "x-millpond-truncated" not in embed(client).headers


# --- lines ------------------------------------------------------------------------------------------------------------


def lines_of(local, capsys, log_format, send):
    server = local(log_format=log_format)
    with server.client() as client:
        send(client)
    server.state.end(0)
    server.thread.join(60)  # a line is written behind the answer
    server.state.log.close()
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if not line.startswith(("warming up ", "warmed up "))]


def test_a_request_is_one_line_of_json_without_its_text(local, capsys):
    def send(client):
        embed(client, [SECRET, SECRET], headers={"x-request-id": "one"})
        embed(client, "x" * 99_999, headers={"x-request-id": "two"})
        client.get("/v1/models?secret=pond")

    first, second, third = map(json.loads, lines_of(local, capsys, "json", send))
    assert (first["id"], first["method"], first["path"], first["status"]) == ("one", "POST", "/v1/embeddings", 200)
    assert (first["model"], first["prompts"], first["client"]) == ("tiny", 2, "127.0.0.1")
    assert first["ms"] >= first["compute_ms"] > 0
    assert (second["id"], second["status"], second["reason"]) == ("two", 400, "invalid")
    assert (third["path"], third["status"]) == ("/v1/models", 200)
    assert "pond" not in json.dumps([first, second, third])
    assert "xxxx" not in json.dumps(second)


def test_a_request_is_one_line_of_text(local, capsys):
    (line,) = lines_of(local, capsys, "text", lambda client: embed(client, SECRET))
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z POST /v1/embeddings 200 id=\w{32} ms=[\d.]+ ", line)
    assert " model=tiny " in line
    assert "pond" not in line


def test_the_log_can_be_off(local, capsys):
    assert lines_of(local, capsys, "off", embed) == []


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_line_can_be_forged(local, capsys, log_format):
    def send(client):
        agent = "curl\u2028\u202e\x85 GET /forged 200".encode()
        client.get("/a%0Ab%0d%1b%E2%80%A8c d=e", headers={"user-agent": agent, "x-request-id": "x\u2028y".encode()})
        embed(client, headers={"x-request-id": "it"}, params={"a": "b\n"})
        client.post("/v1/embeddings", json={"input": "a", "model": "m\r\nGET /forged 200"})

    lines = lines_of(local, capsys, log_format, send)
    assert len(lines) == 3
    for line in lines:
        assert line.isascii() or log_format == "text"
        assert not re.search("[\x00-\x1f\x7f\x85\u2028\u2029\u202e]", line)
    if log_format == "text":
        assert [line.split()[3] for line in lines] == ["404", "200", "404"]


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_cover_requests_engines_and_stages(local):
    server = local()
    with server.client() as client:
        embed(client, ["a boat", "a boat", "the sea"])
        client.post("/v1/embeddings", json={"input": "a cat and a dog", "truncate_prompt_tokens": 3})
        embed(client, "")
        text = client.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    ok = {"route": "/v1/embeddings", "method": "POST", "status": "200"}
    labels = 'method="POST",route="/v1/embeddings",status="200"'
    assert f"millpond_requests_total{{{labels}}} 2.0" in text.text
    assert server.metric("requests_total", **{**ok, "status": "400"}) == 1
    assert server.metric("requests_refused_total", reason="invalid") == 1
    assert server.metric("duplicate_prompts_total", model="tiny") == 1
    assert server.metric("truncated_prompts_total", model="tiny") == 1
    for stage in ("tokenise", "queue", "compute", "finish"):
        assert server.metric("stage_seconds_count", model="tiny", stage=stage) == 2
    assert server.metric("request_seconds_count", route="/v1/embeddings") == 3
    assert server.metric("batch_tokens_sum", model="tiny") <= server.metric("engine_tokens_total", model="tiny")
    assert server.metric("batch_sequences_count", model="tiny") >= 2
    assert server.metric("tokens_per_second", model="tiny") > 0
    assert server.metric("engine_up", model="tiny") == 1
    assert server.metric("queue_tokens", model="tiny") == 0
    assert "process_resident_memory_bytes" in text.text


@pytest.mark.slow
def test_clients_cannot_create_metric_series(local):
    with local().client() as client:

        def send(number):
            client.post("/v1/embeddings", json={"input": "a", "model": f"model-{number}"})
            client.get(f"/path/{number}", headers={"user-agent": f"agent-{number}"})
            client.get(f"/v1/models/{number}", headers={"x-millpond-lane": f"lane-{number}"})
            client.request("PROPFIND", f"/{number}")
            return sum(not line.startswith("#") for line in client.get("/metrics").text.splitlines())

        send(0)
        first = send(1)
        for number in range(2, 20):
            last = send(number)
    assert first == last


def test_load_reports_running_and_waiting_requests(local, watch, gate, pool):
    server = local()
    watch(gate)
    with server.client() as client:
        running = pool.submit(embed, client, "a boat on the sea")
        gate.wait(running)
        timing = client.get("/load").json()
        gate.may_pass.set()
        assert running.result().status_code == 200
        assert timing["server_load"] == 1
        assert timing["models"]["tiny"]["queue_requests"] == 1
        assert timing["models"]["tiny"]["queue_tokens"] > 3
        eventually(lambda: client.get("/load").json()["server_load"] == 0)
