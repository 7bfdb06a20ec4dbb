"""Batches over HTTP: run, cancel, expire, and stay invisible to other keys."""

import json
import time

import numpy as np
import pytest
from batch_client import content_of, records, request_line, start_batch, upload, wait_for

from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond_server.testing import running_server


def test_a_batch_has_the_results_of_live_requests_in_the_order_of_the_file(server, model):
    lines = [request_line(number) for number in range(50)]
    batch = start_batch(server, lines, metadata={"night": "7"})
    assert (batch["status"], batch["metadata"]) == ("validating", {"night": "7"})
    batch = wait_for(server, batch)
    assert (batch["status"], batch["error_file_id"]) == ("completed", None)
    assert batch["request_counts"] == {"total": 50, "completed": 50, "failed": 0}
    assert batch["created_at"] <= batch["in_progress_at"] <= batch["finalizing_at"] <= batch["completed_at"]
    output = records(server, batch["output_file_id"])
    assert [record["custom_id"] for record in output] == [line["custom_id"] for line in lines]
    with LLM(str(model)) as llm:
        outputs = llm.embed([line["body"]["input"] for line in lines], use_tqdm=False)
    for record, expected in zip(output, outputs, strict=True):
        assert (record["error"], record["response"]["status_code"]) == (None, 200)
        vector = np.array(record["response"]["body"]["data"][0]["embedding"], np.float32)
        assert np.allclose(vector, expected.outputs.array, atol=1e-6)


ENDPOINTS = {
    "/v1/embeddings": {"model": "bert", "input": ["the cat", "a boat"]},
    "/pooling": {"model": "bert", "input": "the cat", "task": "token_embed"},
    "/v2/embed": {"model": "bert", "texts": ["the cat"], "input_type": "search_query", "embedding_types": ["float"]},
    "/v1/rerank": {"model": "reranker", "query": "cat", "documents": ["the cat", "a boat"]},
    "/score": {"model": "reranker", "text_1": "cat", "text_2": ["the cat", "a boat"]},
    "/classify": {"model": "classifier", "input": ["the cat"]},
}


def without_ids(body):
    """Return a body without what differs between equal requests; numbers are rounded."""
    kept = {name: value for name, value in body.items() if name not in {"id", "created"}}
    return json.loads(json.dumps(kept), parse_float=lambda digits: round(float(digits), 4))


def test_all_endpoints_return_the_bodies_of_live_requests(start, tmp_path):
    reranker = tiny("BertForSequenceClassification", tmp_path / "reranker", num_labels=1)
    classifier = tiny("BertForSequenceClassification", tmp_path / "classifier", num_labels=3)
    with start(reranker, classifier) as server:
        batches = {
            url: start_batch(server, [request_line(0, url=url, body=body)], endpoint=url)
            for url, body in ENDPOINTS.items()
        }
        for url, body in ENDPOINTS.items():
            batch = wait_for(server, batches[url])
            assert batch["request_counts"]["completed"] == 1, (url, batch)
            (record,) = records(server, batch["output_file_id"])
            live = server.request("POST", url, json=body).json()
            assert without_ids(record["response"]["body"]) == without_ids(live)


def test_an_unknown_endpoint_is_refused_with_the_available_ones(server):
    file = upload(server, content_of([request_line(0)])).json()
    for endpoint in ("/v1/chat", "/v1/files", "/v1/batches", "../pooling", ""):
        answer = server.request("POST", "/v1/batches", json={"input_file_id": file["id"], "endpoint": endpoint})
        assert answer.status == 400
        assert "Available: " in answer.text


def test_wrong_lines_and_failed_requests_are_in_the_error_file(server):
    lines = [
        request_line(1),
        "{broken",
        request_line(3, method="GET"),
        request_line(4, url="/v1/other"),
        request_line(1),
        request_line(6, body={"model": "bert", "input": "cat " * 500}),
        request_line(7, custom_id=7),
        "",
        request_line(9),
    ]
    batch = wait_for(server, start_batch(server, lines))
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 8, "completed": 2, "failed": 6}
    assert [it["custom_id"] for it in records(server, batch["output_file_id"])] == ["request-1", "request-9"]
    errors = records(server, batch["error_file_id"])
    assert [it["error"] and it["error"]["line"] for it in errors] == [2, 3, 4, 5, None, 7]
    assert "line 5: custom_id 'request-1' is not unique" in errors[3]["error"]["message"]
    assert errors[4]["response"]["status_code"] == 400
    assert "maximum context length" in json.dumps(errors[4]["response"]["body"])


def test_a_file_without_a_valid_request_fails_with_its_errors(server):
    batch = wait_for(server, start_batch(server, ["{broken", request_line(2, method="GET")]))
    assert batch["status"] == "failed"
    assert [it["line"] for it in batch["errors"]["data"]] == [None, 1, 2]


def test_a_cancelled_batch_keeps_its_finished_requests(server):
    batch = start_batch(server, [request_line(number) for number in range(5000)])
    while wait_for(server, batch, "in_progress", "completed")["request_counts"]["completed"] < 10:
        time.sleep(0.005)
    answer = server.request("POST", f"/v1/batches/{batch['id']}/cancel")
    assert answer.json()["status"] in ("cancelling", "cancelled")
    batch = wait_for(server, batch)
    assert batch["status"] == "cancelled"
    assert 10 <= batch["request_counts"]["completed"] < 5000
    assert len(records(server, batch["output_file_id"])) == batch["request_counts"]["completed"]
    assert server.request("POST", f"/v1/batches/{batch['id']}/cancel").status == 400


@pytest.mark.slow
def test_an_expired_batch_lists_the_rest_as_errors(server):
    batch = start_batch(server, [request_line(number) for number in range(20_000)], completion_window="1s")
    batch = wait_for(server, batch)
    assert batch["status"] == "expired"
    counts = batch["request_counts"]
    assert counts["completed"] + counts["failed"] == counts["total"] == 20_000
    assert {it["error"]["code"] for it in records(server, batch["error_file_id"])} == {"batch_expired"}


def test_files_and_batches_of_a_different_key_answer_404(start):
    mine, theirs = {"authorization": "Bearer mine"}, {"authorization": "Bearer theirs"}
    with start(api_keys=("mine", "theirs")) as server:
        batch = wait_for(server, start_batch(server, [request_line(0)], headers=mine), headers=mine)
        for path in (
            f"/v1/files/{batch['input_file_id']}",
            f"/v1/files/{batch['output_file_id']}/content",
            f"/v1/batches/{batch['id']}",
        ):
            assert server.request("GET", path, headers=mine).status == 200
            assert server.request("GET", path, headers=theirs).status == 404
            assert server.request("GET", path).status == 401
        assert server.request("GET", "/v1/files", headers=theirs).json()["data"] == []
        assert server.request("GET", "/v1/batches", headers=theirs).json()["data"] == []
        assert server.request("POST", f"/v1/batches/{batch['id']}/cancel", headers=theirs).status == 404
        assert server.request("DELETE", f"/v1/files/{batch['input_file_id']}", headers=theirs).status == 404
        body = {"input_file_id": batch["input_file_id"], "endpoint": "/v1/embeddings"}
        assert server.request("POST", "/v1/batches", json=body, headers=theirs).status == 404


def test_there_are_no_batches_without_a_folder(model):
    with running_server(model) as server:
        assert server.request("GET", "/v1/files").status == 404
        assert "/v1/batches" not in server.request("GET", "/openapi.json").text


def test_two_servers_cannot_use_one_folder(start):
    with start(), pytest.raises(ValueError, match="a different server uses this folder"), start():
        pass


def test_batches_share_the_cache_with_live_requests_of_their_key_only(start):
    mine, theirs = {"authorization": "Bearer mine"}, {"authorization": "Bearer theirs"}
    with start(api_keys=("mine", "theirs"), arguments={"cache": "memory"}) as server:
        wait_for(server, start_batch(server, [request_line(0)], headers=mine), headers=mine)
        seen = [
            server.request("POST", "/v1/embeddings", json=request_line(0)["body"], headers=key).headers
            for key in (mine, theirs)
        ]
    assert [headers["x-millpond-cache"] for headers in seen] == ["hits=1, misses=0", "hits=0, misses=1"]
