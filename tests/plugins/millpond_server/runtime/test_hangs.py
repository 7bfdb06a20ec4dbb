"""/health reports an engine that hangs within a second, and does not report a slow one."""

import time

import pytest
from torch import nn

PATIENCE = 60
MAX_REPORT_SECONDS = 2.0  # seconds; on a machine that does nothing else it takes 0.7 to 0.9


def embed(client, text="a boat"):
    return client.post("/v1/embeddings", json={"input": text})


def seconds_until(status, client):
    """Return the seconds until /health has a status, and its response."""
    began = time.monotonic()
    while (response := client.get("/health")).status_code != status:
        assert time.monotonic() - began < PATIENCE, f"{response.status_code} {response.text}"
        time.sleep(0.01)
    return time.monotonic() - began, response


def never_ill(client, future):
    """Return True if /health responds with 200 until a future is done."""
    response = set()
    while not future.done():
        response.add(client.get("/health").status_code)
        time.sleep(0.01)
    return response == {200}


def test_health_reports_a_hanging_batch_and_its_recovery(local, watch, gate, pool):
    server = local()
    with server.client() as client:
        server.llm.engine.engine.throughput.rate = 1e9
        watch(gate)
        held = pool.submit(embed, client)
        gate.wait(held)
        seconds, response = seconds_until(503, client)
        assert seconds < MAX_REPORT_SECONDS
        assert "tiny: a batch makes no progress" in response.json()["detail"]
        assert client.get("/ready").status_code == 503
        assert client.get("/live").status_code == 200
        gate.may_pass.set()
        assert held.result(PATIENCE).status_code == 200  # it was reported, and not failed
        seconds_until(200, client)
        assert embed(client).status_code == 200


def test_health_reports_an_engine_loop_that_is_stuck(local, gate, pool):
    server = local()
    engine = server.llm.engine.engine
    with server.client() as client:
        turn = engine.step

        def step(**how):
            gate(None)
            return turn(**how)

        engine.step = step
        held = pool.submit(embed, client)
        gate.wait(held)
        assert engine.running == []
        seconds, _ = seconds_until(503, client)
        assert seconds < MAX_REPORT_SECONDS
        gate.may_pass.set()
        assert held.result(PATIENCE).status_code == 200
        seconds_until(200, client)


@pytest.mark.slow
def test_a_batch_with_slow_layers_is_not_reported_as_hanging(local, pool):
    server = local(limits={"hang_seconds": 0.6})
    engine = server.llm.engine.engine
    layers = next(part for part in engine.runner.model.modules() if isinstance(part, nn.ModuleList))
    assert len(layers) >= 2
    with server.client() as client:
        engine.throughput.rate = 1e9
        slow = [layer.register_forward_hook(lambda *_: time.sleep(0.4)) for layer in layers]
        began = time.monotonic()
        held = pool.submit(embed, client)
        assert never_ill(client, held)
        assert held.result().status_code == 200
        assert time.monotonic() - began >= 0.4 * len(layers)
        for hook in slow:
            hook.remove()


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.1, 0.0])  # slower than patience ends; not known yet
def test_a_batch_that_was_to_take_long_does_not_hang(local, watch, gate, pool, rate):
    server = local()
    with server.client() as client:
        server.llm.engine.engine.throughput.rate = rate
        watch(gate)
        held = pool.submit(embed, client)
        gate.wait(held)
        timer = pool.submit(time.sleep, 1.5)
        assert never_ill(client, timer)
        gate.may_pass.set()
        assert held.result(PATIENCE).status_code == 200


@pytest.mark.slow
def test_requests_that_wait_for_a_long_batch_do_not_make_it_hang(local, watch, gate, pool):
    server = local()
    with server.client() as client:
        server.llm.engine.engine.throughput.rate = 5.0
        watch(gate)
        held = [pool.submit(embed, client, text) for text in ("a boat", "the sea", "a cat")]
        gate.wait(*held)
        timer = pool.submit(time.sleep, 1.2)
        assert never_ill(client, timer)
        gate.may_pass.set()
        assert {one.result(PATIENCE).status_code for one in held} == {200}
