"""Limits on the numbers of inputs, tokens and documents: all routes refuse larger requests with a clear error."""

import sys

import orjson
import pytest
import torch

SEVEN_TEXTS = ["a boat"] * 7
TOO_MANY = [
    ("/v1/embeddings", {"input": SEVEN_TEXTS}),
    ("/v1/embeddings", {"input": [[5]] * 7}),
    ("/v1/embeddings", {"messages": [[{"role": "user", "content": "a"}]] * 7}),
    ("/v1/embed", {"texts": SEVEN_TEXTS}),
    ("/v2/embed", {"texts": SEVEN_TEXTS, "embedding_types": ["float"], "input_type": "search_query"}),
    ("/pooling", {"input": SEVEN_TEXTS}),
    ("/v1/represent", {"input": SEVEN_TEXTS, "representations": [{"task": "embed"}]}),
    ("/embed", {"inputs": SEVEN_TEXTS}),
    ("/embed_all", {"inputs": SEVEN_TEXTS}),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": SEVEN_TEXTS}}),
    ("/rerank", {"query": "a", "texts": SEVEN_TEXTS}),
    ("/rerank", {"query": "a", "documents": SEVEN_TEXTS}),
    ("/v1/rerank", {"query": "a", "documents": SEVEN_TEXTS}),
    ("/v2/rerank", {"query": "a", "documents": SEVEN_TEXTS}),
    ("/infinity/rerank", {"query": "a", "documents": SEVEN_TEXTS}),
    ("/score", {"queries": "a", "documents": SEVEN_TEXTS}),
    ("/score", {"text_1": SEVEN_TEXTS, "text_2": SEVEN_TEXTS}),
    ("/explain", {"query": "a", "documents": SEVEN_TEXTS}),
    ("/tokenize", {"inputs": SEVEN_TEXTS}),
    ("/invocations", {"input": SEVEN_TEXTS}),
]
OUT_OF_BOUNDS = [
    ("/v1/embeddings", {"input": "a", "dimensions": 0.5}, "dimensions"),
    ("/v1/embeddings", {"input": "a", "dimensions": -1}, "dimensions"),
    ("/v1/embeddings", {"input": "a", "dimensions": 2**62}, "dimensions"),
    ("/v1/embeddings", {"input": "a", "priority": 2**63}, "priority"),
    ("/v1/embeddings", {"input": "a", "truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
    ("/v1/embeddings", {"input": "a", "truncate_prompt_tokens": 2**62}, "truncate_prompt_tokens"),
    ("/v2/embed", {"texts": ["a"], "embedding_types": ["float"], "priority": 1000}, "priority"),
    ("/rerank", {"query": "a", "documents": ["a"], "top_n": -1}, "top_n"),
    ("/rerank", {"query": "a", "documents": ["a"], "max_tokens_per_doc": -1}, "max_tokens_per_doc"),
    ("/v1/embeddings", {"input": [5, -1]}, "-1"),
    ("/v1/embeddings", {"input": [5, 2**31]}, str(2**31)),
    ("/v1/embeddings", {"input": [5, 2**63]}, str(2**63)),
    ("/v1/embeddings", {"input": [5, 1.5]}, "1.5"),
    ("/v1/embeddings", {"input": [5, True]}, "True"),
    ("/v1/embeddings", {"input": [5, None]}, "None"),
    ("/detokenize", {"tokens": [-1]}, "tokens"),
    ("/detokenize", {"tokens": [2**31]}, str(2**31)),
]


@pytest.fixture(scope="module")
def few(folder, serving):
    """A client of a server with a limit of six inputs and six documents."""
    limits = ("--max-inputs", "6", "--max-documents", "6", "--max-tokens", "1000")
    with serving(folder, "--served-model-name", "tiny", *limits) as running, running.client() as client:
        yield client


@pytest.mark.parametrize(("path", "body"), TOO_MANY, ids=lambda part: part if isinstance(part, str) else "")
def test_too_many_inputs_are_413_on_every_route(few, path, body):
    answered = few.post(path, json=body)
    assert answered.status_code == 413, answered.text
    assert "6" in answered.text
    fewer = {name: _less(value) for name, value in body.items()}
    assert few.post(path, json=fewer).status_code != 413


def _less(value):
    if isinstance(value, dict):
        return {name: _less(item) for name, item in value.items()}
    return value[:6] if isinstance(value, list) else value


@pytest.mark.parametrize(("path", "body", "word"), OUT_OF_BOUNDS)
def test_a_number_out_of_bounds_is_400_and_named(few, path, body, word):
    answered = few.post(path, content=orjson.dumps(body), headers={"content-type": "application/json"})
    assert answered.status_code == 400, answered.text
    assert word in answered.text


def test_routes_that_tokenize_have_limits_too(few):
    assert few.post("/tokenize", json={"prompt": "a " * 4000}).status_code == 200
    for path, body in (
        ("/tokenize", {"prompt": "a " * 4001}),
        ("/tokenize", {"inputs": ["a" * 4001, "a" * 4000]}),
        ("/detokenize", {"tokens": [5] * 1001}),
        ("/decode", {"ids": [[5] * 500, [5] * 501]}),
    ):
        assert few.post(path, json=body).status_code == 413, path


# --- names ------------------------------------------------------------------------------------------------------------

opened = []  # files, while a list is here that they are added to
NAMES = [
    "../../etc/passwd",
    "/etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "a\x00b",
    "x" * 10_000,
    "C:\\a",
    "~",
    ".",
]


def note(event, arguments):
    if event == "open" and opened:
        opened[0].append(str(arguments[0]))


def test_a_name_of_a_model_is_never_a_path(local):
    sys.addaudithook(note)  # which stays
    server = local()
    files = []
    with server.client() as client:
        client.post("/v1/embeddings", json={"input": "a", "model": "nobody"})
        opened.append(files)
        for name in NAMES:
            answered = client.post("/v1/embeddings", json={"input": "a", "model": name})
            assert answered.status_code == 404
            assert len(answered.content) < 2000
            assert client.get(f"/v1/models/{name.encode().hex()}").status_code == 404
        for path in ("../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%2f", "%00"):
            assert client.get(f"/v1/models/{path}").status_code == 404
        opened.clear()
    assert [file for file in files if "passwd" in file or "%2e" in file or "models" in file] == []


# --- NaN --------------------------------------------------------------------------------------------------------------


def test_nan_never_leaves_the_server(local):
    server = local()
    poison = server.llm.pipeline.ctx.tokenizer.encode_batch(["stone"])[0].ids[1]
    vocabulary = server.llm.model_config.hf_config["vocab_size"]
    weights = next(one for one in server.llm.engine.engine.runner.model.parameters() if len(one) == vocabulary)
    with torch.no_grad():
        weights[poison] = torch.nan
    with server.client() as client:
        for path, body in (
            ("/v1/embeddings", {"input": ["a boat", "an old stone"]}),
            ("/v1/embeddings", {"input": "an old stone", "encoding_format": "base64"}),
            ("/pooling", {"input": "an old stone", "task": "token_embed"}),
            ("/score", {"text_1": "a boat", "text_2": ["a boat", "an old stone"]}),
        ):
            answered = client.post(path, json=body)
            assert (answered.status_code, answered.json()["error"]["type"]) == (500, "non_finite_output"), path
            assert "null" not in answered.text.replace('"param":null', "")
        assert client.post("/v1/embeddings", json={"input": "a boat"}).status_code == 200
