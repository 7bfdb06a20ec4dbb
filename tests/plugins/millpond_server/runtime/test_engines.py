"""Requests whose model raises, hangs or crashes, that wait too long, or whose client disconnects."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from waiting import eventually

from millpond import LLM

PATIENCE = 60
MINILM = "all-MiniLM-L6-v2"
TEXTS = ["a boat", "the sea", "a cat and a dog", "old stone", "a red door", "one fish", "deep lake", "this town"]


@pytest.fixture
def deaths(monkeypatch):
    """The exceptions of threads, without pytest's warning."""
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    return died


def embed(client, text="a boat", headers=None, **body):
    return client.post("/v1/embeddings", json={"input": text, **body}, headers=headers)


def ids_of(server, text):
    return tuple(server.llm.pipeline.ctx.tokenizer.encode_batch([text])[0].ids)


# --- raises -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lines():
    """64 different texts."""
    path = Path(__file__).parents[3] / "data" / "sentences.txt"
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()][:64]


def test_a_failing_input_among_64_fails_alone_and_is_not_retried(local, watch, gate, pool, lines):
    with LLM(MINILM) as llm:
        expected = [output.outputs.array for output in llm.embed(lines, use_tqdm=False)]
    server = local(model=MINILM)
    server.llm.engine.engine.scheduler.max_num_batched_tokens = 10_000
    poison, held, batches = ids_of(server, lines[37]), [], []

    def forward(sequences):
        if not held:
            held.append(gate(sequences))
            return
        batches.append(len(sequences))
        if poison in sequences:
            raise RuntimeError("a secret of the model")

    with server.client() as client:
        watch(forward)
        first = pool.submit(embed, client)
        gate.wait(first)
        asked = [pool.submit(embed, client, line) for line in lines]
        eventually(lambda: server.llm.engine.pending == 65, first, *asked)
        gate.may_pass.set()
        answers = [one.result() for one in asked]
        assert first.result().status_code == 200
        assert [answered.status_code for answered in answers] == [500 if n == 37 else 200 for n in range(64)]
        for number, (vector, answered) in enumerate(zip(expected, answers, strict=True)):
            if number != 37:
                np.testing.assert_allclose(answered.json()["data"][0]["embedding"], vector, atol=1e-5)
        assert batches[0] == 64
        assert len(batches) <= 1 + 2 * 6
        assert answers[37].json()["error"]["type"] == "InternalServerError"
        assert "secret" not in answers[37].text
        eventually(lambda: server.metric("requests_refused_total", reason="engine") == 1)
        batches.clear()
        for _ in range(3):  # as clients do that try again
            again = embed(client, lines[37])
            assert (again.status_code, "it is refused for a while" in again.text) == (500, True)
        assert batches == []
        eventually(lambda: server.metric("requests_refused_total", reason="blocked") == 3)
        watch(lambda _: None)
        server.state.models.served[0].failing_inputs.seconds_left = lambda _: 0.0  # a minute later
        healed = embed(client, lines[37])
        np.testing.assert_allclose(healed.json()["data"][0]["embedding"], expected[37], atol=1e-5)


@pytest.mark.parametrize("error", [SystemExit, RecursionError, AssertionError, StopIteration])
def test_the_server_continues_after_any_error_of_a_model(local, watch, error):
    server = local(limits={"quarantine_seconds": 0})
    with server.client() as client:

        def forward(_):
            raise error

        watch(forward)
        assert embed(client).status_code == 500
        watch(lambda _: None)
        assert embed(client).status_code == 200
        assert client.get("/health").status_code == 200


def test_out_of_memory_is_a_503_that_may_be_retried(local, watch):
    server = local()
    with server.client() as client:

        def forward(_):
            raise MemoryError

        watch(forward)
        refused = embed(client)
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "insufficient_memory")
        assert int(refused.headers["retry-after"]) >= 1
        watch(lambda _: None)
        assert embed(client).status_code == 200
        eventually(lambda: server.metric("requests_refused_total", reason="memory") == 1)


# --- dies -------------------------------------------------------------------------------------------------------------


def dying(**_):
    raise KeyboardInterrupt  # the one error that ends the thread which turns the engine


def test_a_crashed_engine_fails_all_requests_within_a_second(local, pool, deaths):
    server = local()
    with server.client() as client:

        def step(**_):
            eventually(lambda: server.llm.engine.pending == len(TEXTS))
            dying()

        server.llm.engine.engine.step = step
        asked = [pool.submit(embed, client, text) for text in TEXTS]
        began = time.monotonic()
        answers = [one.result() for one in asked]
        assert time.monotonic() - began < 5
        assert {answered.status_code for answered in answers} == {503}
        assert all(int(answered.headers["retry-after"]) >= 1 for answered in answers)
        assert client.get("/health").status_code == 503
        assert embed(client).status_code == 503
        assert client.get("/ready").status_code == 503
        assert client.get("/live").status_code == 200
        health = client.get("/health").json()
        assert health["error"]["type"] == "EngineDeadError"
        assert "tiny: its engine crashed" in health["detail"]
        assert server.metric("engine_up", model="tiny") == 0
    server.thread.join(PATIENCE)  # it ends by itself, a second later
    assert not server.thread.is_alive()
    assert deaths


def test_the_other_models_are_served_until_a_crash_ends_the_process_with_70(local, deaths):
    server, codes = local(("good", "bad")), []
    end, server.state.end = server.state.end, codes.append
    server.state.models.get("bad").llm.engine.engine.step = dying
    with server.client() as client:
        assert embed(client, model="bad").status_code == 503
        eventually(lambda: client.get("/health").status_code == 503)
        assert embed(client, model="good").status_code == 200
        eventually(lambda: codes)
        assert embed(client, model="bad").status_code == 503
    assert codes == [70]
    server.state.end = end
    assert deaths


# --- hangs ------------------------------------------------------------------------------------------------------------


def test_health_reports_a_hanging_model_and_the_others_are_served(local, watch, gate, pool):
    server = local(workers=2, limits={"hang_seconds": 0.5})
    with server.client() as client:
        poison = ids_of(server, "green sky")
        watch(lambda sequences: gate(sequences) if poison in sequences else None)
        server.llm.engine.engine.throughput.rate = 1e9
        stuck = pool.submit(embed, client, "green sky")
        gate.wait(stuck)
        assert stuck.result(PATIENCE).status_code == 500
        health = client.get("/health")
        assert (health.status_code, "tiny: a batch does not end" in health.text) == (503, True)
        assert embed(client, "the sea").status_code == 200
        gate.may_pass.set()
        eventually(lambda: client.get("/health").status_code == 200)
        assert embed(client, "green sky").status_code == 200


def test_requests_fail_at_once_if_no_worker_is_left(local, watch, gate, pool):
    server = local(limits={"hang_seconds": 0.5})
    with server.client() as client:
        watch(gate)
        server.llm.engine.engine.throughput.rate = 1e9
        stuck = pool.submit(embed, client, "green sky")
        gate.wait(stuck)
        behind = [pool.submit(embed, client, text) for text in TEXTS]
        assert stuck.result(PATIENCE).status_code == 500
        assert {one.result(PATIENCE).status_code for one in behind} == {500}
        refused = embed(client)
        assert (refused.status_code, "is not available at present" in refused.text) == (503, True)
        assert client.get("/health").status_code == 503
        gate.may_pass.set()
        eventually(lambda: client.get("/health").status_code == 200)
        assert embed(client).status_code == 200


def test_a_slow_batch_that_was_expected_is_not_reported_as_hanging(local, watch, gate, pool):
    server = local(limits={"hang_seconds": 0.2})
    with server.client() as client:
        watch(gate)
        server.llm.engine.engine.throughput.rate = 0.1  # tokens a second
        slow = pool.submit(embed, client)
        gate.wait(slow)
        time.sleep(1.0)
        assert client.get("/health").status_code == 200
        gate.may_pass.set()
        assert slow.result().status_code == 200


# --- waits ------------------------------------------------------------------------------------------------------------


def measured(server, rate):
    """A server whose engine has a fixed measured speed, in tokens per second."""
    throughput = server.llm.engine.engine.throughput
    throughput.rate, throughput.note = rate, lambda *_, **__: None
    return server


@pytest.mark.parametrize("status", [503, 429])
def test_requests_that_would_wait_too_long_are_refused_with_retry_after(local, watch, gate, pool, status):
    server = measured(local(limits={"queue_wait": 2.0}, overload_status=status), rate=10)
    with server.client() as client:
        watch(gate)
        running = pool.submit(embed, client, " ".join(TEXTS))
        gate.wait(running)
        tokens = server.llm.engine.waiting_tokens
        refused = embed(client)
        health = refused.json()
        assert (refused.status_code, health["error"]["type"]) == (status, "overloaded_error")
        assert "rate limit" not in refused.text.lower().replace("_", " ")
        wait = tokens / 10 - 2.0
        assert wait > 0
        assert int(refused.headers["retry-after-ms"]) == pytest.approx(wait * 1000, abs=2)
        assert wait <= int(refused.headers["retry-after"]) <= wait + 2
        eventually(lambda: server.metric("requests_refused_total", reason="queue") == 1)
        gate.may_pass.set()
        assert running.result().status_code == 200
        assert embed(client).status_code == 200


def test_requests_with_a_timeout_are_refused_at_once_or_cancelled_in_time(local, watch, gate, pool):
    server = measured(local(), rate=10)
    with server.client() as client:
        watch(gate)
        running = pool.submit(embed, client, "a boat on the sea")
        gate.wait(running)
        hopeless = embed(client, headers={"x-request-timeout-ms": "100"})
        assert (hopeless.status_code, "retry-after-ms" in hopeless.headers) == (503, True)
        eventually(lambda: server.metric("requests_refused_total", reason="hopeless") == 1)
        server.llm.engine.engine.throughput.rate = 1e9
        began = time.monotonic()
        late = embed(client, headers={"x-request-timeout-ms": "200"})
        assert (late.status_code, time.monotonic() - began < 10) == (504, True)
        assert late.json()["error"]["type"] == "DeadlineExceededError"
        assert embed(client, headers={"x-request-timeout-ms": "soon"}).status_code == 400
        gate.may_pass.set()
        assert running.result().status_code == 200
        eventually(lambda: server.llm.engine.pending == 0)


def test_the_work_of_a_disconnected_client_is_dropped(local, watch, gate, pool):
    """Requests fail within 200 ms, long before their batch would begin."""
    server = local()
    body = b'{"input": ["a cat", "a dog", "a fish"]}'
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    times = []
    with server.client() as client:
        watch(gate)
        running = pool.submit(embed, client, "a boat on the sea")
        gate.wait(running)
        alone = server.llm.engine.waiting_tokens
        for _ in range(5):
            with server.connect() as connection:
                connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
                eventually(lambda: server.llm.engine.pending == 4, running)
            began = time.monotonic()
            eventually(lambda: server.llm.engine.pending == 1, running)
            times.append(time.monotonic() - began)
            assert server.llm.engine.waiting_tokens == alone
        assert min(times) < 0.2
        eventually(lambda: server.metric("requests_refused_total", reason="gone") == 5)
        gate.may_pass.set()
        assert running.result().status_code == 200
        eventually(lambda: server.llm.engine.pending == 0)
        assert server.llm.engine.engine.stats.failures == 0


# --- priority classes -------------------------------------------------------------------------------------------------

BATCH_HEADERS = {"x-millpond-lane": "batch"}


def test_batch_requests_let_others_pass_and_are_not_starved(local, watch, gate, pool):
    server = local()
    seen = []

    def forward(sequences):
        gate(sequences)
        seen.append({len(one) for one in sequences})

    with server.client() as client:
        watch(forward)
        first = pool.submit(embed, client)
        gate.wait(first)
        large = pool.submit(embed, client, [f"{TEXTS[0]} {text}" for text in TEXTS], headers=BATCH_HEADERS)
        eventually(lambda: server.llm.engine.pending == 9, first, large)
        urgent = [pool.submit(embed, client, text) for text in TEXTS[:2]]
        eventually(lambda: server.llm.engine.pending == 11, first, large, *urgent)
        gate.may_pass.set()
        assert {one.result().status_code for one in (first, large, *urgent)} == {200}
    assert len(seen) == 3
    assert max(seen[1]) < min(seen[2])  # the short ones shared a batch, and went first


def test_batch_requests_are_refused_while_interactive_ones_are_accepted(local, watch, gate, pool):
    server = measured(local(limits={"queue_wait": 1.0}), rate=10)
    with server.client() as client:
        watch(gate)
        large = pool.submit(embed, client, TEXTS, headers=BATCH_HEADERS)
        gate.wait(large)
        assert embed(client, headers=BATCH_HEADERS).status_code == 503
        urgent = pool.submit(embed, client, "the sea")
        eventually(lambda: server.llm.engine.pending == 9, large, urgent)
        gate.may_pass.set()
        assert (large.result().status_code, urgent.result().status_code) == (200, 200)
