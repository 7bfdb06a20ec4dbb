"""Ten times more than a server can do: some are served, the others refused at once, and then all is as before."""

import concurrent.futures
import time

import pytest

CLIENTS = 40
SECONDS = 4.0
WAIT = 0.5
NAP = 0.02  # seconds a batch


def hammer(server, number):
    """Ask as long as it is time; the status and the seconds of each answer, and how it said when to come again."""
    found = []
    with server.client() as client:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            began = time.perf_counter()
            body = {"input": f"{'sea ' * 20} {number} {len(found)}"}
            answered = client.post("/v1/embeddings", json=body, headers={"x-request-id": f"{number}-{len(found)}"})
            assert answered.headers["x-request-id"] == f"{number}-{len(found)}"
            found.append((answered.status_code, time.perf_counter() - began, answered.headers.get("retry-after-ms")))
    return found


@pytest.mark.slow
def test_who_is_served_waits_no_longer_than_was_promised_and_who_is_not_is_told_at_once(local, watch):
    server = local(limits={"queue_wait": WAIT})
    engine = server.llm.engine
    engine.engine.scheduler.max_num_seqs = 2  # some 100 prompts a second
    watch(lambda _: time.sleep(NAP))
    with server.client() as client:
        for _ in range(12):  # its speed is known then
            assert client.post("/v1/embeddings", json={"input": "sea " * 20}).status_code == 200
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        runs = list(pool.map(lambda number: hammer(server, number), range(CLIENTS)))
    answers = [answer for run in runs for answer in run]
    served = sorted(seconds for status, seconds, _ in answers if status == 200)
    refused = sorted(seconds for status, seconds, _ in answers if status == 503)
    assert len(served) + len(refused) == len(answers)
    assert min(len(served), len(refused)) > 20
    assert all(int(later) > 0 for status, _, later in answers if status == 503)
    assert served[int(len(served) * 0.99)] < WAIT + 3.0  # on a machine that does other things too
    assert refused[len(refused) // 2] < served[len(served) // 2]
    assert refused[int(len(refused) * 0.99)] < 1.0
    assert (engine.waiting_tokens, engine.pending) == (0, 0)
    watch(lambda _: None)
    with server.client() as client:
        assert client.post("/v1/embeddings", json={"input": "sea"}).status_code == 200
        assert client.get("/health").status_code == 200
    assert server.state.running <= 1
