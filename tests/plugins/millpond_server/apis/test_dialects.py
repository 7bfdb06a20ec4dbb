"""Routes of text-embeddings-inference, Infinity and Jina over HTTP: formats, and the same numbers as ``LLM``."""

import base64

import numpy as np
import pytest

from millpond import LLM

TEXTS = ["a cup of tea", "the old mill by the pond", "tea"]


@pytest.fixture(scope="session")
def offline():
    with LLM("all-MiniLM-L6-v2") as llm:
        yield llm


@pytest.fixture(scope="session")
def vectors(offline):
    return np.stack([output.outputs.array for output in offline.embed(TEXTS, use_tqdm=False)])


@pytest.mark.parametrize("path", ["/embed", "/tei/embed", "/"])
def test_tei_returns_bare_lists(http, vectors, path):
    np.testing.assert_allclose(http.post(path, json={"inputs": TEXTS}).json(), vectors, atol=1e-6)
    one = http.post(path, json={"inputs": TEXTS[0]}).json()
    np.testing.assert_allclose(one, vectors[:1], atol=1e-6)
    cut = http.post(path, json={"inputs": "tea " * 600})
    assert cut.status_code == 200


def test_tei_returns_hidden_states_of_tokens(http, offline):
    (hidden_states,) = http.post("/embed_all", json={"inputs": TEXTS[0]}).json()
    (output,) = offline.encode(TEXTS[0], pooling_task="token_embed", use_tqdm=False)
    lengths = np.linalg.norm(hidden_states, axis=1, keepdims=True)
    np.testing.assert_allclose(np.array(hidden_states) / lengths, output.outputs.array, atol=1e-5)
    assert (np.abs(lengths - 1) > 0.01).all()


@pytest.mark.parametrize("path", ["/rerank", "/tei/rerank"])
def test_tei_ranks_texts(http, vectors, path):
    body = {"query": TEXTS[0], "texts": TEXTS[1:], "return_text": True}
    best, worst = http.post(path, json=body).json()
    assert (best["index"], best["text"], worst["index"], worst["text"]) == (1, TEXTS[2], 0, TEXTS[1])
    np.testing.assert_allclose(
        [best["score"], worst["score"]], [vectors[2] @ vectors[0], vectors[1] @ vectors[0]], atol=1e-5
    )
    plain = http.post(path, json={"query": TEXTS[0], "texts": TEXTS[1:]}).json()
    assert [list(rank) for rank in plain] == [["index", "score"]] * 2


def test_tei_compares_sentences_and_knows_tokens(http, vectors):
    body = {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS}}
    np.testing.assert_allclose(http.post("/similarity", json=body).json(), vectors @ vectors[0], atol=1e-5)
    (tokens,) = http.post("/tokenize", json={"inputs": "hi there"}).json()
    assert [(t["id"], t["text"], t["special"], t["start"], t["stop"]) for t in tokens] == [
        (101, "[CLS]", True, None, None),
        (7632, "hi", False, 0, 2),
        (2045, "there", False, 3, 8),
        (102, "[SEP]", True, None, None),
    ]
    assert http.post("/decode", json={"ids": [[101, 7632, 102], [2045]]}).json() == ["hi", "there"]
    info = http.get("/info").json()
    assert (info["model_id"], info["max_input_length"], info["model_type"]) == (
        "all-MiniLM-L6-v2",
        256,
        {"embedding": {"pooling": "mean"}},
    )


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/embed", {"inputs": []}, 400),
        ("/embed", {"inputs": ""}, 422),
        ("/embed", {}, 422),
        ("/embed", {"inputs": "tea " * 600, "truncate": False}, 422),
        ("/tei/rerank", {"query": "a"}, 422),
        ("/rerank", {"query": "a", "texts": []}, 400),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 400),
        ("/tei/tokenize", {"inputs": []}, 400),
        ("/decode", {"ids": [99999]}, 422),
        ("/embed", {"inputs": ["a"] * 2049}, 413),
    ],
)
def test_invalid_bodies_of_tei_get_errors_in_its_format(http, path, body, status):
    answer = http.post(path, json=body)
    assert answer.status_code == status
    assert list(answer.json()) == ["error", "error_type"]
    assert answer.json()["error_type"] == ("Empty" if status == 400 else "Validation")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/rerank", {"documents": ["x"]}, "query"),
        ("/rerank", {"query": "a", "documents": ["x"], "top_n": -1}, "top_n"),
        ("/tokenize", {"prompt": 5.5}, "prompt"),
    ],
)
def test_a_path_of_two_apis_names_the_field_as_the_client_sent_it(http, path, body, field):
    error = http.post(path, json=body).json()["error"]
    assert error["param"].startswith(f"body.{field}")
    assert f"\n  {field}" in error["message"]


def test_infinity_has_documents_as_texts(http):
    body = {"query": "tea", "documents": TEXTS, "return_documents": True, "top_n": 2}
    answer = http.post("/infinity/rerank", json=body).json()
    assert [result["document"] for result in answer["results"]] == [TEXTS[2], TEXTS[0]]
    assert (answer["object"], answer["usage"]["total_tokens"] > 0) == ("rerank", True)
    card = http.get("/infinity/models").json()["data"][0]
    assert {"queue_fraction", "queue_absolute", "results_pending", "batch_size"} == set(card["stats"])


def test_jina_returns_the_requested_kind(http, vectors):
    body = {"input": [{"text": TEXTS[0]}, TEXTS[1]], "task": "text-matching", "late_chunking": False}
    plain = http.post("/jina/v1/embeddings", json=body).json()
    np.testing.assert_allclose([item["embedding"] for item in plain["data"]], vectors[:2], atol=1e-6)
    coded = http.post("/jina/v1/embeddings", json={**body, "embedding_type": "base64"}).json()["data"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(coded[0]["embedding"]), "<f4"), vectors[0], atol=1e-6)
    bits = http.post("/jina/v1/embeddings", json={**body, "embedding_type": ["ubinary"]}).json()["data"]
    assert bits[0]["embedding"] == np.packbits(vectors[0] >= 0).tolist()
    raw = http.post("/jina/v1/embeddings", json={**body, "normalized": False}).json()["data"][0]["embedding"]
    assert abs(np.linalg.norm(raw) - 1) > 0.01
