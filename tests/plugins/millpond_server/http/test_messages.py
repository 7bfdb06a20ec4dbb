"""Messages of refused requests: suggestions for misspelled routes and fields, and no words of libraries."""

import time

import pytest

from millpond.testing.checkpoints import tiny
from millpond_models.testing.dual_encoders import tiny_dual_encoder
from millpond_server.testing import running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("messages")
    bert, clip = tiny("BertModel", root / "bert"), tiny_dual_encoder("CLIPModel", root / "clip")
    with running_server(bert, clip) as server:
        yield server


def refusal(server, path, body, status=400):
    answer = server.request("POST", path, json=body)
    assert answer.status == status, answer.text
    return answer.text if status == 422 else answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "suggested"),
    [
        ("POST", "/v1/embedding", "POST /v1/embeddings"),
        ("POST", "/v1/Embeddings", "POST /v1/embeddings"),
        ("GET", "/v1/model", "GET /v1/models"),
        ("GET", "/v1/embedings", "POST /v1/embeddings"),
        ("GET", "/heath", "GET /health"),
        ("GET", "/doc", "GET /docs"),
    ],
)
def test_an_unknown_route_suggests_the_most_similar_one(server, method, path, suggested):
    answer = server.request(method, path, json={} if method == "POST" else None).json()
    assert answer["message"] == f"Not Found: did you mean {suggested}?"
    assert answer["detail"] == "Not Found"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/x", "/" + "v1/embeddings" * 2000])
def test_an_unknown_route_that_resembles_none_gets_no_suggestion(server, path):
    begin = time.monotonic()
    assert server.request("GET", path).json()["message"] == "Not Found"
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("path", "body", "wrong", "right"),
    [
        ("/v1/embeddings", {"inputt": "a"}, "inputt", "input"),
        ("/v1/embeddings", {"Input": "a"}, "Input", "input"),
        ("/v1/embeddings", {"mesages": []}, "mesages", "messages"),
        ("/tei/embed", {"input": "a"}, "input", "inputs"),
        ("/rerank", {"query": "a", "document": ["b"]}, "document", "documents"),
        ("/rerank", {"query": "a", "text": ["b"]}, "text", "texts"),
        ("/score", {"text1": "a", "text_2": "b"}, "text1", "text_1"),
        ("/v2/embed", {"text": ["a"]}, "text", "texts"),
    ],
)
def test_an_unknown_field_suggests_the_most_similar_one(server, path, body, wrong, right):
    status = 422 if path.startswith("/tei") else 400
    assert f"{wrong}: unknown field, did you mean '{right}'?" in refusal(server, path, body, status)


def test_few_unknown_fields_get_suggestions_and_known_ones_none(server):
    message = refusal(server, "/v1/embeddings", {f"input{number}": "a" for number in range(900)})
    assert message.count("did you mean") == 5
    assert "did you mean" not in refusal(server, "/v1/embeddings", {"input": "a", "inputs": "b", "priority": "high"})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {}),
        ("/v1/embeddings", {"input": []}),
        ("/v1/embeddings", {"input": "a", "prompt": "b", "instruction": "c"}),
        ("/pooling", {}),
        ("/score", {}),
        ("/v2/embed", {"input_type": "query"}),
    ],
)
def test_a_validation_error_has_no_prefix_of_pydantic(server, path, body):
    message = refusal(server, path, body)
    assert "validation error" in message
    assert not any(word in message for word in ("Value error", "Assertion", "value_error"))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": 5},
        {"type": "image_url", "image_url": {"url": 5}},
        {"type": "image_url", "image_url": 5},
        {"type": "image_pil", "image_pil": [1]},
    ],
)
def test_an_error_of_an_image_does_not_mention_numpy(server, part):
    body = {"model": "clip", "messages": [{"role": "user", "content": [part]}]}
    assert "numpy" not in refusal(server, "/v1/embeddings", body)
