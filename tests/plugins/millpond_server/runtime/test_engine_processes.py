"""``millpond serve --data-parallel-size 2``: engine processes that are killed or hang, metrics, and the shutdown."""

import concurrent.futures
import os
import re
import signal
from pathlib import Path

import pytest
from waiting import PATIENCE_S, eventually

ENGINES = ("--data-parallel-size", "2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc"),
]


def engines_of(server):
    """Return the ids of the engine processes of a server, in the order of their start."""
    children = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return sorted({int(pid) for path in children for pid in path.read_text().split()})


def wait_for_end(pids):
    eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() and cmdline(pid) for pid in pids))


def cmdline(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for a zombie
    except OSError:
        return b""


def embed(client, text):
    return client.post("/v1/embeddings", json={"input": [f"{text} {number}" for number in range(20)]})


def metric(client, name):
    """Return the values of a metric by engine."""
    lines = re.findall(rf'^{name}{{.*engine="(\d)".*}} (\S+)$', client.get("/metrics").text, re.MULTILINE)
    return {engine: float(value) for engine, value in lines}


def test_a_killed_engine_loses_no_request_and_is_replaced(folder, serving):
    with serving(str(folder), *ENGINES) as server, server.client() as client:
        expected = embed(client, "a cat").json()["data"]
        victims = engines_of(server)
        assert len(victims) == 2
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(embed, client, f"a cat {number}") for number in range(100)]
            eventually(lambda: sum(call.done() for call in calls) > 10)
            os.kill(victims[0], signal.SIGKILL)
            assert {call.result().status_code for call in calls} == {200}
        eventually(lambda: metric(client, "millpond_engine_process_up") == {"0": 1.0, "1": 1.0})
        assert sum(metric(client, "millpond_engine_process_restarts_total").values()) == 1.0
        assert embed(client, "a cat").json()["data"] == expected
        assert client.get("/health").status_code == 200
        engines = engines_of(server)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        wait_for_end([*victims, *engines])


def test_the_end_of_all_engines_ends_the_server_with_70(folder, serving):
    with serving(str(folder), *ENGINES) as server, server.client() as client:
        assert embed(client, "a cat").status_code == 200
        victims = engines_of(server)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        assert server.process.wait(PATIENCE_S) == 70
        wait_for_end(victims)
    assert any("no engine process is left" in line for line in server.lines)


def test_an_engine_that_hangs_is_killed_and_replaced(folder, serving):
    with serving(str(folder), *ENGINES, "--hang-timeout", "2") as server, server.client() as client:
        assert embed(client, "a cat").status_code == 200
        victim = engines_of(server)[0]
        os.kill(victim, signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(embed, client, f"a dog {number}") for number in range(40)]
            statuses = {call.result().status_code for call in calls}
        assert statuses <= {200, 500}
        eventually(lambda: victim not in engines_of(server))
        eventually(lambda: metric(client, "millpond_engine_process_up") == {"0": 1.0, "1": 1.0})
        eventually(lambda: client.get("/health").status_code == 200)
        assert embed(client, "a cat").status_code == 200


def test_killing_the_server_ends_its_engines(folder, serving):
    with serving(str(folder), *ENGINES) as server:
        engines = engines_of(server)
        server.process.kill()
        server.process.wait(PATIENCE_S)
        wait_for_end(engines)
