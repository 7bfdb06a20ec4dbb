"""Priority classes: large requests do not delay small ones, and reranking is as fast as without load."""

import concurrent.futures
import sys
import threading
import time

import orjson
import pytest
from waiting import eventually

from millpond_server.runtime.admission import exceeds_tokens

MINILM = "all-MiniLM-L6-v2"
NUM_INGESTING = 8  # clients that embed documents
INGESTION_TIMEOUT_S = 300.0
LARGE_INPUT = [f"a boat on the sea {number}" for number in range(300)]  # some 1,700 tokens
RANKED = {"query": "a boat", "documents": LARGE_INPUT}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"input": "a boat"}, False),
        ({"input": "a boat " * 400}, True),
        ({"input": ["a boat"] * 90}, False),
        ({"input": ["a boat on the sea"] * 300}, True),
        ({"input": list(range(400))}, False),
        ({"input": list(range(600))}, True),
        ({"input": [[1, 2, 3]] * 200}, True),
        ({"input": "水" * 1000}, True),
        ({"texts": ["a boat " * 100] * 6}, True),
        ({"inputs": [{"text": "a boat " * 100}] * 6}, True),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a boat " * 400}]}]}, True),
        ({"input": [{"image": "data:image/png;base64," + "A" * 100_000}]}, False),
        ({"input": [{"image": "data:image/png;base64," + "A" * 10}] * 3}, True),
    ],
)
def test_the_tokens_of_a_body_are_guessed(body, expected):
    assert exceeds_tokens(body, 512, max_text_tokens=8192) is expected


def test_a_text_counts_at_most_as_the_maximum_length():
    assert not exceeds_tokens({"input": "a boat " * 10_000}, 512, max_text_tokens=256)


def test_guessing_is_cheap():
    body = orjson.loads(orjson.dumps({"input": [[1] * 150] * 2000, "more": [["a"]] * 2000}))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert not exceeds_tokens(body, 1_000_000, max_text_tokens=256)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.05


@pytest.mark.parametrize(
    ("path", "body", "name", "priority"),
    [
        ("/v1/embeddings", {"input": "a boat"}, None, 0),
        ("/v1/embeddings", {"input": LARGE_INPUT}, None, 1),
        ("/v1/embeddings", {"input": LARGE_INPUT}, "interactive", 0),
        ("/v1/embeddings", {"input": "a boat"}, "batch", 1),
        ("/v1/embeddings", {"input": LARGE_INPUT, "priority": 7}, None, 8),
        ("/embed", {"inputs": LARGE_INPUT}, None, 1),
        ("/v2/embed", {"texts": LARGE_INPUT, "input_type": "search_document", "embedding_types": ["float"]}, None, 1),
        ("/rerank", RANKED, None, 0),
        ("/invocations", RANKED, None, 0),
        ("/rerank", RANKED, "batch", 1),
    ],
)
def test_size_selects_the_priority_class_unless_the_header_does(local, watch, gate, pool, path, body, name, priority):
    server = local()
    headers = {} if name is None else {"x-millpond-lane": name}
    watch(gate)
    with server.client() as client:
        asked = pool.submit(client.post, path, json=body, headers=headers)
        gate.wait(asked)
        priorities = {request.state.priority for request in server.llm.engine.waiting()}
        gate.may_pass.set()
        assert asked.result().status_code == 200
    assert priorities == {priority}


def test_an_unknown_priority_class_is_refused(local):
    with local().client() as client:
        answered = client.post("/v1/embeddings", json={"input": "a"}, headers={"x-millpond-lane": "fast"})
    assert (answered.status_code, "interactive, batch" in answered.text) == (400, True)


def test_waiting_for_a_forward_ends_with_the_refusal_of_the_request(local, gate, pool):
    with local().client() as client:
        asked = pool.submit(client.post, "/v1/embeddings", json={"input": "a"}, headers={"x-millpond-lane": "fast"})
        with pytest.raises(AssertionError, match=r"ended too early: 400 .*unknown priority class 'fast'"):
            gate.wait(asked)


def test_a_query_waits_only_for_the_running_batch_under_load(local, watch, gate, pool):
    server = local()
    seen = []

    def forward(sequences):
        gate(sequences)
        seen.append(len(sequences))

    with server.client() as client:
        watch(forward)
        flood = [pool.submit(client.post, "/v1/embeddings", json={"input": LARGE_INPUT}) for _ in range(8)]
        gate.wait(*flood)
        eventually(lambda: server.llm.engine.pending == 8 * len(LARGE_INPUT), *flood)
        question = pool.submit(client.post, "/v1/embeddings", json={"input": "a boat"})
        eventually(lambda: server.llm.engine.pending == 8 * len(LARGE_INPUT) + 1, *flood, question)
        gate.may_pass.set()
        assert {one.result().status_code for one in (question, *flood)} == {200}
    assert seen.index(1) == 1


@pytest.mark.slow
def test_ingestion_never_starves_search(serving, capsys):
    """Queries to the real model wait much less than for all the documents that are embedded at the same time.

    The limits are 1 and 3 seconds. On a slow machine they are shares of the time for the documents of all clients, for
    which a query without a priority waits: of ``NUM_INGESTING`` bodies, each measured alone before and after.
    """
    stop = threading.Event()
    body = {"input": [f"{number} {'the old mill by the pond ' * 20}" for number in range(32)]}
    ingested, ingestion_seconds = [], []

    def ingest():
        with server.client() as client:
            while not stop.is_set():
                began = time.perf_counter()
                ingested.append(client.post("/v1/embeddings", json=body, timeout=INGESTION_TIMEOUT_S).status_code)
                ingestion_seconds.append(time.perf_counter() - began)

    patient = ("--max-queue-wait", "60")
    with (
        serving(MINILM, "--log-format", "off", *patient) as server,
        concurrent.futures.ThreadPoolExecutor(NUM_INGESTING) as pool,
        server.client() as client,
    ):
        alone, body_s = seconds_of(client, 30), seconds_of_body(client, body)
        running = [pool.submit(ingest) for _ in range(NUM_INGESTING)]
        time.sleep(2.0)
        beside = seconds_of(client, 50)
        stop.set()
        for one in running:
            one.result()
        body_s = max(body_s, seconds_of_body(client, body))
    with capsys.disabled():
        sys.stdout.write(
            f"\nqueries alone: p50 {alone[15] * 1000:.0f} ms, p99 {alone[-1] * 1000:.0f} ms; beside {NUM_INGESTING} "
            f"clients that ingest: p50 {beside[25] * 1000:.0f} ms, p99 {beside[-1] * 1000:.0f} ms; "
            f"{len(ingested)} bodies of 32 texts, {body_s * 1000:.0f} ms each alone\n"
        )
    assert set(ingested) == {200}
    assert max(ingestion_seconds) < max(30.0, 4 * NUM_INGESTING * body_s)
    assert beside[25] < max(1.0, NUM_INGESTING * body_s / 4)
    assert beside[-1] < max(3.0, NUM_INGESTING * body_s * 3 / 4)


def seconds_of_body(client, body):
    """Return the duration of a request in seconds: the median of three."""
    durations = []
    for _ in range(3):
        began = time.perf_counter()
        assert client.post("/v1/embeddings", json=body, timeout=INGESTION_TIMEOUT_S).status_code == 200
        durations.append(time.perf_counter() - began)
    return sorted(durations)[1]


def seconds_of(client, count):
    """Return the durations of queries in seconds, sorted."""
    priorities = []
    for number in range(count):
        began = time.perf_counter()
        answered = client.post("/v1/embeddings", json={"input": f"where is the mill, question {number}"})
        priorities.append(time.perf_counter() - began)
        assert answered.status_code == 200
        time.sleep(0.05)
    return sorted(priorities)
