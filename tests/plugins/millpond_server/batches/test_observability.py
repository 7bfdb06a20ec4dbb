"""Batches in the metrics and the access log of a server."""

import re

import pytest
from batch_client import request_line, start_batch, wait_for

from millpond_server.observability.access_log import AccessLog, as_json, as_text

MINE, THEIRS = {"authorization": "Bearer mine"}, {"authorization": "Bearer theirs"}


def samples(server, name, **headers):
    """Return the samples of a metric by their labels."""
    text = server.request("GET", "/metrics", headers=headers).text
    lines = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in lines}


def test_batches_requests_and_files_are_counted(server):
    wait_for(server, start_batch(server, [request_line(0), request_line(1), "{broken", request_line(3)]))
    wait_for(server, start_batch(server, ["{broken"]))
    assert samples(server, "millpond_batch_job_requests_total") == {
        'result="completed",route="/v1/embeddings"': 3,
        'result="failed",route="/v1/embeddings"': 1,
    }
    assert samples(server, "millpond_batch_jobs_ended_total") == {'status="completed"': 1, 'status="failed"': 1}
    assert samples(server, "millpond_batch_jobs") == {
        f'status="{status}"': 0 for status in ("validating", "in_progress", "finalizing", "cancelling")
    }
    files = server.request("GET", "/v1/files").json()["data"]
    assert samples(server, "millpond_stored_files") == {"": len(files)} == {"": 4}
    assert samples(server, "millpond_stored_file_bytes") == {"": sum(file["bytes"] for file in files)}


def test_an_unfinished_batch_is_counted_by_its_status(start):
    with start() as server:
        batch = start_batch(server, [request_line(number) for number in range(20_000)])
        wait_for(server, batch, "in_progress")
        assert samples(server, "millpond_batch_jobs")['status="in_progress"'] == 1


def test_the_prompts_of_batches_are_counted_but_not_the_duration_of_their_stages(start):
    with start(arguments={"cache": "memory"}) as server:
        for _ in range(2):
            wait_for(server, start_batch(server, [request_line(number) for number in range(5)]))
        assert samples(server, "millpond_cache_misses_total") == {'model="bert"': 5}
        assert samples(server, "millpond_cache_hits_total") == {'model="bert"': 5}
        assert samples(server, "millpond_stage_seconds_count") == {}
        assert samples(server, "millpond_requests_total").keys() >= {'method="POST",route="/v1/batches",status="200"'}


def test_the_access_log_has_a_line_for_the_start_and_the_end_of_a_batch(start, monkeypatch):
    logged = []
    monkeypatch.setattr(AccessLog, "write", lambda _, fields: logged.append(dict(fields)))
    with start() as server:
        batch = wait_for(server, start_batch(server, [request_line(0), "{broken"]))
    lines = [fields for fields in logged if fields.get("event") == "batch"]
    assert [(it["id"], it["status"]) for it in lines] == [(batch["id"], "in_progress"), (batch["id"], "completed")]
    assert {name: lines[1][name] for name in ("total", "completed", "failed")} == batch["request_counts"]
    assert f"BATCH /v1/embeddings completed event=batch id={batch['id']} total=2" in as_text(lines[1], 0.0)
    assert as_json(lines[1], 0.0).startswith('{"time":"1970-01-01T00:00:00.000Z","event":"batch","id":"batch_')


@pytest.mark.parametrize(("is_shared", "hits"), [(True, 1), (False, 0)])
def test_batches_of_two_keys_share_cached_results_only_if_the_server_allows_it(start, is_shared, hits):
    options = {"api_keys": ("mine", "theirs"), "arguments": {"cache": "memory"}}
    with start(settings={"cache_shared": is_shared}, **options) as server:
        for headers in (MINE, THEIRS):
            wait_for(server, start_batch(server, [request_line(0)], headers=headers), headers=headers)
        assert samples(server, "millpond_cache_hits_total", **MINE).get('model="bert"', 0) == hits
