"""Sparse vectors over HTTP: ``/embed_sparse``, ``/v1/represent``, ``/explain``; ``/pooling`` gives dense ones."""

import numpy as np
import pytest

from millpond import LLM
from millpond.testing.checkpoints import (
    tiny,
    write_sentence_transformers,
    write_sparse_autoencoder,
    write_sparse_encoder,
)

TEXTS = ["the old mill", "snow on the hill"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A SparseEncoder, and a model without sparse vectors."""
    root = tmp_path_factory.mktemp("sparse")
    sparse = tiny("BertForMaskedLM", root / "sparse")
    write_sparse_encoder(sparse)
    coded = tiny("BertModel", root / "coded")
    write_sentence_transformers(coded, normalize=False)
    write_sparse_autoencoder(coded, features=64, active=9)
    return {"sparse": str(sparse), "dense": str(tiny("BertModel", root / "dense")), "coded": str(coded)}


@pytest.fixture(scope="module")
def offline(folders):
    with LLM(folders["sparse"]) as llm:
        yield llm


@pytest.fixture(scope="module")
def weights(offline):
    return [output.outputs for output in offline.embed_sparse(TEXTS, return_tokens=True)]


@pytest.mark.parametrize("path", ["/embed_sparse", "/tei/embed_sparse"])
def test_tei_returns_pairs_of_index_and_value(post, weights, path):
    sparse_vectors = post(path, inputs=TEXTS)
    for one, expected in zip(sparse_vectors, weights, strict=True):
        assert [pair["index"] for pair in one] == expected.indices.tolist()
        np.testing.assert_allclose([pair["value"] for pair in one], expected.values, atol=1e-6)
    assert post(path, inputs=TEXTS[0]) == sparse_vectors[:1]
    assert [len(one) for one in post(path, inputs=TEXTS, max_active_dims=3)] == [3, 3]


def test_tei_truncates_long_texts_by_default(post, offline):
    (sparse_vectors,) = post("/embed_sparse", inputs="mill " * 100)
    (cut,) = offline.embed_sparse("mill " * 100, truncate_prompt_tokens=-1)
    assert [pair["index"] for pair in sparse_vectors] == cut.outputs.indices.tolist()
    refused = post("/embed_sparse", 422, inputs="mill " * 100, truncate=False)
    assert refused["error_type"] == "Validation"


def test_models_without_sparse_vectors_refuse_the_route(post):
    refused = post("/embed_sparse", 424, inputs=TEXTS, model="dense")
    assert refused["error"] == "Backend error: Model is not an embedding model with SPLADE pooling"
    assert post("/embed_sparse", 400, inputs=[])["error_type"] == "Empty"


def test_represent_returns_them_together_with_others(post, weights, offline):
    wanted = [{"task": "embed_sparse"}, {"task": "embed_sparse", "max_active_dims": 2}, {"task": "token_embed"}]
    body = post("/v1/represent", input=TEXTS, representations=wanted, return_tokens=True)
    for item, expected in zip(body["data"], weights, strict=True):
        whole, heaviest, tokens = item["representations"]
        sparse = whole["embeddings"]["sparse"]
        assert (whole["shape"], sparse["indices"]) == ([expected.size], expected.indices.tolist())
        np.testing.assert_allclose(sparse["values"], expected.values, atol=1e-6)
        assert tuple(sparse["tokens"]) == expected.tokens
        assert heaviest["embeddings"]["sparse"]["indices"] == sorted(token for token, _ in expected.top(2))
        assert tokens["shape"] == [item["num_tokens"], 32]


def test_pooling_returns_the_dense_vector(post, weights):
    for task in (None, "embed", "embed_sparse"):
        (item,) = post("/pooling", input=TEXTS[0], task=task)["data"]
        np.testing.assert_allclose(item["data"], weights[0].dense(), atol=1e-6)


def test_explain_returns_the_terms_and_their_contributions(post, weights):
    body = post("/explain", query=TEXTS[0], documents=TEXTS, top_terms=1000)
    assert [(term["token_id"], term["weight"]) for term in body["query_terms"]] == weights[0].top(1000)
    for item, document in zip(body["data"], weights, strict=True):
        assert item["score"] == pytest.approx(float(weights[0].dense() @ document.dense()), rel=1e-5)
        assert sum(term["weight"] for term in item["shared"]) == pytest.approx(item["score"], rel=1e-5)
        assert [(term["token_id"], term["weight"]) for term in item["terms"]] == document.top(1000)
        assert item["matches"] == []
    few = post("/explain", query=TEXTS[0], documents=TEXTS, top_terms=2)
    assert [len(item["terms"]) for item in few["data"]] == [2, 2]
    names = dict(zip(weights[0].indices.tolist(), weights[0].tokens, strict=True))
    assert [term["token"] for term in few["query_terms"]] == [names[token] for token, _ in weights[0].top(2)]


def test_features_of_a_sparse_autoencoder_are_named_by_their_ids(post, folders):
    with LLM(folders["coded"], num_workers=1) as llm:
        expected = [output.outputs for output in llm.embed_sparse(TEXTS, use_tqdm=False)]
    for one, expected_vector in zip(post("/embed_sparse", inputs=TEXTS, model="coded"), expected, strict=True):
        assert [pair["index"] for pair in one] == expected_vector.indices.tolist()
    wanted = [{"task": "embed_sparse"}]
    body = post("/v1/represent", input=TEXTS[0], model="coded", representations=wanted, return_tokens=True)
    sparse = body["data"][0]["representations"][0]["embeddings"]["sparse"]
    assert sparse["tokens"] == [str(number) for number in sparse["indices"]]
    (item, other) = post("/explain", query=TEXTS[0], documents=TEXTS, model="coded")["data"]
    assert item["score"] == pytest.approx(float(expected[0].dense() @ expected[0].dense()), rel=1e-5)
    assert other["score"] == pytest.approx(float(expected[0].dense() @ expected[1].dense()), rel=1e-4)
    assert all(term["token"] == str(term["token_id"]) for term in item["terms"])
    ranked = post("/rerank", query=TEXTS[0], documents=TEXTS, model="coded")["results"]
    assert {each["index"]: pytest.approx(each["relevance_score"], rel=1e-4) for each in ranked} == {
        0: item["score"],
        1: other["score"],
    }


@pytest.mark.parametrize(
    "fields", [{"input_type": "query"}, {"input_type": "search_document"}, {"is_query": True}], ids=str
)
def test_a_model_without_input_types_ignores_them(post, fields):
    assert post("/embed_sparse", inputs=TEXTS, **fields) == post("/embed_sparse", inputs=TEXTS)


def test_rerank_ranks_by_them(post, offline):
    scores = [output.outputs.score for output in offline.score(TEXTS[0], TEXTS, use_tqdm=False)]
    body = post("/rerank", query=TEXTS[0], documents=TEXTS)
    assert [result["index"] for result in body["results"]] == [0, 1]
    assert [result["relevance_score"] for result in body["results"]] == pytest.approx(scores, abs=1e-6)
