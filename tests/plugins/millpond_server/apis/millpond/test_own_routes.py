"""``/v1/represent`` and ``/explain`` over HTTP: the same numbers as ``LLM``, one forward pass, explained scores."""

import base64

import numpy as np
import pytest

from millpond import LLM

TEXTS = ["a cup of tea", "the old mill by the pond"]


@pytest.fixture(scope="session")
def offline():
    with LLM("all-MiniLM-L6-v2") as llm:
        yield llm


def test_several_results_are_returned_in_one_response(http, offline):
    wanted = [
        {"task": "embed", "embedding_types": ["float", "base64", "ubinary"]},
        {"task": "embed", "use_activation": False},
        {"task": "token_embed"},
    ]
    body = http.post("/v1/represent", json={"input": TEXTS, "representations": wanted, "return_tokens": True}).json()
    vectors = [output.outputs.array for output in offline.embed(TEXTS, use_tqdm=False)]
    tokens = offline.encode(TEXTS, pooling_task="token_embed", use_tqdm=False)
    for index, item in enumerate(body["data"]):
        dense, raw, each = item["representations"]
        np.testing.assert_allclose(dense["embeddings"]["float"], vectors[index], atol=1e-6)
        decoded = np.frombuffer(base64.b64decode(dense["embeddings"]["base64"]), "<f4")
        np.testing.assert_allclose(decoded, vectors[index], atol=1e-6)
        assert dense["embeddings"]["ubinary"] == np.packbits(vectors[index] >= 0).tolist()
        raw_vector = np.array(raw["embeddings"]["float"])
        np.testing.assert_allclose(raw_vector / np.linalg.norm(raw_vector), vectors[index], atol=1e-6)
        np.testing.assert_allclose(each["embeddings"]["float"], tokens[index].outputs.array, atol=1e-6)
        assert each["shape"] == [item["num_tokens"], 384]
        assert (item["token_ids"], item["truncated"]) == (tokens[index].prompt_token_ids, False)
        assert (item["tokens"][0], item["tokens"][-1]) == ("[CLS]", "[SEP]")


def test_truncation_is_reported(http):
    body = {"input": "tea " * 600, "representations": [{"task": "embed"}], "truncate_prompt_tokens": 16}
    (item,) = http.post("/v1/represent", json=body).json()["data"]
    assert (item["num_tokens"], item["truncated"], item["num_dropped_tokens"] > 0) == (16, True, True)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], "representations"),
        ([{"task": "classify"}], "the task 'classify' is not served"),
        ([{"task": "embed", "dimensions": 12}], "does not support"),
        ([{"task": "embed", "embedding_types": ["int4"]}], "embedding_types"),
        ([{"task": "embed"}] * 33, "representations"),
    ],
)
def test_unsupported_representations_are_refused(http, wanted, message):
    answer = http.post("/v1/represent", json={"input": "a", "representations": wanted})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_a_score_is_the_sum_of_the_matches(http, offline):
    body = {"query": "a cup of tea", "documents": ["tea in a cup", "snow on the hill"]}
    first, second = http.post("/explain", json=body).json()["data"]
    assert first["score"] > second["score"]
    for explanation in (first, second):
        total = sum(match["similarity"] for match in explanation["matches"])
        assert total == pytest.approx(explanation["score"], abs=1e-4)
    match = next(match for match in first["matches"] if match["query_token"] == "tea")
    assert match["document_token"] == "tea"
    query, document = (
        offline.encode(text, pooling_task="token_embed", use_tqdm=False)[0].outputs.array
        for text in (body["query"], body["documents"][0])
    )
    assert first["score"] == pytest.approx(float((query @ document.T).max(axis=1).sum()), abs=1e-4)
