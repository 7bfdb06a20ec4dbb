"""The routes of vLLM and Cohere over HTTP with an embedding model: the same numbers as ``LLM``, and errors."""

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


def refused(answer, status=400):
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["message"]


# --- Cohere -----------------------------------------------------------------------------------------------------------


def test_cohere_returns_all_kinds_of_vectors_at_once(http, vectors):
    kinds = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    body = http.post(
        "/v2/embed", json={"texts": TEXTS, "input_type": "search_document", "embedding_types": kinds}
    ).json()
    embeddings = body["embeddings"]
    assert list(embeddings) == kinds
    np.testing.assert_allclose(embeddings["float"], vectors, atol=1e-6)
    np.testing.assert_allclose(
        [np.frombuffer(base64.b64decode(b), "<f4") for b in embeddings["base64"]], vectors, atol=1e-6
    )
    np.testing.assert_allclose(np.array(embeddings["int8"]) / 127, vectors, atol=0.5 / 127 + 1e-6)
    assert (np.array(embeddings["uint8"]) - 127 == np.array(embeddings["int8"])).all()
    bits = (vectors >= 0).reshape(3, -1, 8) @ (1 << np.arange(7, -1, -1))
    assert (np.array(embeddings["ubinary"]) == bits).all()
    assert (np.array(embeddings["binary"]) == bits - 128).all()
    assert (body["response_type"], body["texts"]) == ("embeddings_by_type", TEXTS)
    assert body["meta"]["billed_units"]["input_tokens"] == body["meta"]["tokens"]["input_tokens"] > 0


def test_the_first_version_of_cohere_returns_a_bare_list(http, vectors):
    body = http.post("/v1/embed", json={"texts": TEXTS, "truncate": None, "input_type": "search_query"}).json()
    np.testing.assert_allclose(body["embeddings"], vectors, atol=1e-6)
    assert (body["response_type"], body["id"].startswith("embd-")) == ("embeddings_floats", True)
    typed = http.post("/v1/embed", json={"texts": TEXTS, "embedding_types": ["float"]}).json()
    assert (typed["response_type"], list(typed["embeddings"])) == ("embeddings_by_type", ["float"])


def test_cohere_truncates_the_requested_side(http, offline):
    long = " ".join(f"word{number}" for number in range(300))
    ends = {}
    for side in ("END", "START"):
        body = http.post("/v2/embed", json={"texts": [long], "truncate": side, "max_tokens": 10}).json()
        assert body["meta"]["tokens"]["input_tokens"] == 10
        ends[side] = body["embeddings"]["float"][0]
    cut = offline.embed(long, truncate_prompt_tokens=10, use_tqdm=False)[0].outputs.array
    np.testing.assert_allclose(ends["END"], cut, atol=1e-6)
    assert not np.allclose(ends["START"], cut, atol=1e-3)
    assert "maximum context length" in refused(http.post("/v2/embed", json={"texts": [long], "truncate": "NONE"}))
    short = http.post("/v2/embed", json={"texts": ["a b c d e f g"], "truncate": "NONE", "max_tokens": 3})
    assert "Input of 9 tokens exceeds max_tokens=3 with truncate=NONE" in refused(short)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Exactly one of texts, images, or inputs"),
        ({"texts": []}, "Exactly one of texts, images, or inputs"),
        ({"texts": ["a"], "images": ["data:"]}, "Exactly one of texts, images, or inputs"),
        ({"texts": ["a"], "embedding_types": ["int4"]}, "embedding_types"),
        ({"images": ["data:image/png;base64,AAAA"]}, "images"),
        ({"inputs": [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "parts of the type text"),
        ({"inputs": [{"content": []}]}, "must have a `content`"),
        ({"texts": ["a"], "output_dimension": 100}, "does not support"),
        ({"texts": ["a"], "truncate": "MIDDLE"}, "truncate"),
    ],
)
def test_invalid_requests_of_cohere_are_refused(http, body, message):
    assert message in refused(http.post("/v2/embed", json=body))


def test_cohere_reads_parts_of_text(http, vectors):
    inputs = [{"content": [{"type": "text", "text": text}]} for text in TEXTS]
    embeddings = http.post("/v2/embed", json={"inputs": inputs}).json()["embeddings"]["float"]
    np.testing.assert_allclose(embeddings, vectors, atol=1e-6)


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    "names", [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")]
)
def test_scores_are_cosines_under_every_pair_of_names(http, vectors, path, names):
    body = http.post(path, json={names[0]: TEXTS[0], names[1]: TEXTS}).json()
    assert [item["index"] for item in body["data"]] == [0, 1, 2]
    np.testing.assert_allclose([item["score"] for item in body["data"]], vectors @ vectors[0], atol=1e-5)
    assert body["usage"]["total_tokens"] > 0


def test_scores_pair_by_pair(http, vectors):
    body = http.post("/score", json={"text_1": TEXTS, "text_2": TEXTS[::-1]}).json()
    np.testing.assert_allclose([item["score"] for item in body["data"]], (vectors * vectors[::-1]).sum(1), atol=1e-5)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text_1": "a"}, "one of these pairs of fields"),
        ({"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "1:1, 1:N or N:N"),
        ({"text_1": [], "text_2": "a"}, "At least one text element must be given"),
        ({"text_1": "a", "text_2": []}, "At least one text_pair element must be given"),
        ({"text_1": "a", "text_2": "b", "max_tokens_per_doc": -1}, "max_tokens_per_doc"),
        ({"text_1": "a", "text_2": "b", "max_tokens_per_doc": 256}, "max_tokens_per_doc"),
    ],
)
def test_invalid_score_requests_are_refused(http, body, message):
    assert message in refused(http.post("/score", json=body))


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_are_sorted_by_score_with_their_indices(http, vectors, path):
    documents = [TEXTS[1], {"text": TEXTS[2]}, {"content": [{"type": "text", "text": TEXTS[0]}]}, TEXTS[1]]
    body = http.post(path, json={"query": TEXTS[0], "documents": documents, "top_n": None}).json()
    places = [result["index"] for result in body["results"]]
    assert places == [2, 1, 0, 3]  # equals in the order they came
    texts = [TEXTS[1], TEXTS[2], TEXTS[0], TEXTS[1]]
    assert [result["document"]["text"] for result in body["results"]] == [texts[index] for index in places]
    scores = [float(vectors[0] @ vectors[TEXTS.index(texts[index])]) for index in places]
    np.testing.assert_allclose([result["relevance_score"] for result in body["results"]], scores, atol=1e-5)
    fewer = http.post(path, json={"query": TEXTS[0], "documents": documents, "top_n": 2, "return_documents": False})
    assert [list(result) for result in fewer.json()["results"]] == [["index", "relevance_score"]] * 2


def test_fields_of_documents_may_be_chosen(http):
    documents = [{"title": "tea", "body": "a cup of tea"}, {"title": "x", "body": "snow and ice"}]
    body = {"query": "tea", "documents": documents, "rank_fields": ["title", "body"]}
    results = http.post("/rerank", json=body).json()["results"]
    assert (results[0]["index"], results[0]["document"]["text"]) == (0, "title: tea\nbody: a cup of tea")


def test_invalid_documents_are_refused(http):
    assert "a document must be a text" in refused(http.post("/rerank", json={"query": "a", "documents": [5]}))
    assert "list length" in refused(http.post("/rerank", json={"query": "a", "documents": ["b"] * 1025}), 413)


@pytest.mark.parametrize("task", ["reward"])
def test_pooling_accepts_the_old_names_of_token_tasks(http, task):
    old, new = (http.post("/pooling", json={"input": "a", "task": name}).json() for name in (task, "token_embed"))
    assert old["data"] == new["data"]


@pytest.mark.parametrize(
    ("task", "way"),
    [("represent", "POST /v1/represent"), ("embed_chunks", "LLM.embed_chunks")],
)
def test_pooling_names_the_route_of_unsupported_tasks(http, task, way):
    assert way in refused(http.post("/pooling", json={"input": "a", "task": task}))


@pytest.mark.parametrize("query", [5, ["a"], ["a", "b"], [{"text": "a"}], [{}]])
def test_invalid_queries_are_refused(http, query):
    assert "a query must be a text" in refused(http.post("/rerank", json={"query": query, "documents": ["c", "d"]}))


# --- pooling and tokens -----------------------------------------------------------------------------------------------


def test_pooling_returns_the_bare_result_of_a_task(http, offline, vectors):
    body = http.post("/pooling", json={"input": TEXTS}).json()
    np.testing.assert_allclose([item["data"] for item in body["data"]], vectors, atol=1e-6)
    tokens = http.post("/pooling", json={"input": TEXTS[0], "task": "token_embed"}).json()["data"][0]["data"]
    (output,) = offline.encode(TEXTS[0], pooling_task="token_embed", use_tqdm=False)
    np.testing.assert_allclose(tokens, output.outputs.data, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"input": "a", "task": "classify"}, "--convert classify"),
        ({"input": "a", "task": "nonsense"}, "Unsupported task: 'nonsense'"),
        ({"input": "a", "dimensions": 12}, "dimensions is currently not supported"),
        ({"data": {"a": 1}}, "No IOProcessor plugin installed"),
        ({"data": {"a": 1}, "task": "embed"}, "only supported for the 'plugin' pooling task"),
        ({}, "one of `input`"),
    ],
)
def test_pooling_refuses_tasks_that_the_model_does_not_serve(http, body, message):
    assert message in refused(http.post("/pooling", json=body))


def test_texts_become_tokens_and_tokens_text(http):
    body = http.post("/tokenize", json={"prompt": "hi there", "return_token_strs": True}).json()
    assert body == {
        "count": 4,
        "max_model_len": 256,
        "tokens": [101, 7632, 2045, 102],
        "token_strs": ["[CLS]", "hi", "there", "[SEP]"],
    }
    bare = http.post("/tokenize", json={"prompt": "hi there", "add_special_tokens": False}).json()
    assert (bare["tokens"], bare["token_strs"]) == ([7632, 2045], None)
    assert http.post("/detokenize", json={"tokens": [7632, 2045]}).json() == {"prompt": "hi there"}
    assert "30522" in refused(http.post("/detokenize", json={"tokens": [30522]}))
    assert http.post("/classify", json={"input": "a"}).json()["detail"] == "Not Found"
