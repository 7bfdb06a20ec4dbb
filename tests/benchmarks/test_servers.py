"""Servers under the load of clients: requests, figures, and the benchmark from end to end."""

import http.server
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import load
import numpy as np
import pytest
import serve_throughput
import servers
from contest import ContestantError
from contestants import BY_NAME
from tables import markdown
from workloads import requests

LARGE_BYTES = 200_000  # a response that needs more than one packet


class Handler(http.server.BaseHTTPRequestHandler):
    """Responds with the number of bytes and the status in the request body."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(body)
        self.send_response(body.get("status", 200))
        if body.get("length", True):
            self.send_header("Content-Length", str(body["bytes"]))
        self.end_headers()
        self.wfile.write(b"x" * body["bytes"])

    def log_message(self, *_):
        pass


@pytest.fixture
def http_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def run_clients(server, bodies, **changed):
    job = {
        "host": "127.0.0.1",
        "port": server.server_address[1],
        "path": "/",
        "clients": 3,
        "warm": 0.1,
        "seconds": 0.4,
    }
    job |= {"bodies": [json.dumps(body) for body in bodies], **changed}
    process = subprocess.run(
        [sys.executable, load.__file__], input=json.dumps(job), capture_output=True, text=True, timeout=60, check=False
    )
    return process, [json.loads(line) if line.startswith("{") else line for line in process.stdout.splitlines()]


def test_clients_send_the_next_request_after_a_response(http_server):
    bodies = [{"bytes": size} for size in (0, 10, LARGE_BYTES)]
    process, (begin, figures) = run_clients(http_server, bodies)
    assert (process.returncode, begin) == (0, "begin")
    assert figures["statuses"] == {"200": len(figures["latencies"])}
    assert len(figures["latencies"]) >= 3
    assert 0 < min(figures["latencies"]) <= max(figures["latencies"]) < 5
    assert 0.4 <= figures["seconds"] < 5
    assert 0 < figures["cpu"] < figures["seconds"]
    # The requests of the warm-up and the open requests at the end are not counted in the figures.
    assert len(http_server.requests) >= len(figures["latencies"]) + 3
    counts = [http_server.requests.count(body) for body in bodies]
    assert max(counts) - min(counts) <= 3


def test_statuses_are_counted(http_server):
    _, (_, figures) = run_clients(http_server, [{"bytes": 5}, {"bytes": 5, "status": 503}])
    assert set(figures["statuses"]) == {"200", "503"}


def test_response_without_length_ends_the_load(http_server):
    process, _ = run_clients(http_server, [{"bytes": 5, "length": False}])
    assert process.returncode != 0
    assert "a response without content-length" in process.stderr


@pytest.mark.slow
def test_requests_contain_one_to_four_texts(tiny_model):
    workload, grouped = requests(tiny_model.tokenizer, 40)
    assert [text for texts in grouped for text in texts] == list(workload.texts)
    assert {len(texts) for texts in grouped} == {1, 2, 3, 4}
    assert min(workload.lengths) >= 6
    assert max(workload.lengths) <= 32
    assert requests(tiny_model.tokenizer, 40)[1] == grouped


@pytest.mark.slow
def test_cpu_seconds_are_measured_per_thread():
    code = "import time\nwhile time.process_time() < 0.5: pass\nprint('spent', flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            usage = servers.usage_of(process.pid)
        finally:
            process.kill()
    assert 0.4 <= usage.process < 2
    assert usage.threads == {process.pid: pytest.approx(usage.process, abs=0.03)}


def test_busiest_threads_count_as_computing(monkeypatch):
    monkeypatch.setattr(servers.os, "cpu_count", lambda: 2)
    before = servers.Usage(10.0, {1: 4.0, 2: 3.0, 3: 3.0})
    after = servers.Usage(20.0, {1: 5.0, 2: 6.0, 3: 4.0, 4: 4.0, 5: 0.5})  # finished threads used half a second
    shares = servers.shares(before, after, main=1)
    assert shares == {"server_cpu": 10.0, "event_loop": 1.0, "computing": 7.0, "other": 2.0}


@pytest.mark.slow
def test_server_that_does_not_start_reports_its_log(tmp_path, tiny_model):
    missing = replace(tiny_model, folder=tmp_path / "nothing")
    with pytest.raises(ContestantError, match=r"(?s)the server does not respond:.*nothing"):
        servers.Servers([BY_NAME["millpond"]], missing, tmp_path)


def test_both_servers_get_the_same_options(monkeypatch, tmp_path, tiny_model):
    started = []
    monkeypatch.setattr(servers.subprocess, "Popen", lambda command, **_: started.append(command))
    monkeypatch.setattr(servers, "python_of", lambda *_: Path("/there/bin/python"))
    for name in ("millpond-int8", "infinity"):
        servers.Server(BY_NAME[name], tiny_model, tmp_path, tmp_path)
    ours, peer = started
    assert ours[1:4] == ["-m", "millpond", "serve"]
    assert ours[ours.index("--quantization") + 1] == "int8"
    assert peer[:2] == ["/there/bin/infinity_emb", "v2"]
    for command in started:
        assert str(tiny_model.folder) in command
        assert command[command.index("--served-model-name") + 1] == "tiny"


@pytest.mark.slow
def test_serve_throughput(settings):
    settings = replace(
        settings, question="serve_throughput", contestants=settings.contestants[:1], texts=8, seconds=0.5
    )
    result = serve_throughput.measure(settings)
    assert result["workload"] == "W4"
    (row,) = result["rows"].values()
    assert all(count > 0 for count in row["answers"])
    rates = [count / seconds for count, seconds in zip(row["answers"], row["wall_seconds"], strict=True)]
    assert row["requests_per_second"]["median"] == pytest.approx(np.median(rates))
    assert row["p99_ms"]["median"] >= row["p50_ms"]["median"] > 0
    parts = [row[f"{part}_share"]["low"] for part in ("event_loop", "computing", "other")]
    assert 0 < sum(parts) <= 1.0001
    assert result["contestants"]["millpond"]["versions"].keys() == {"millpond", "torch"}
    result["machine"]["load_after"] = 0.0
    assert "| **Millpond** |" in markdown(result)


def test_ratios_are_computed_per_round():
    def run(responses, cpu):
        return {"latencies": [0.1] * responses, "seconds": 2.0, "server_cpu": cpu}

    runs = {"millpond": [run(20, 1.0), run(30, 1.0)], "infinity": [run(10, 2.0), run(10, 2.0)]}
    (ratio,) = serve_throughput.ratios_of(runs)
    assert (ratio["contestant"], ratio["peer"]) == ("millpond", "infinity")
    assert ratio["wall"] == {"median": 2.5, "low": 2.0, "high": 3.0}
    assert ratio["cpu"] == {"median": 5.0, "low": 4.0, "high": 6.0}
