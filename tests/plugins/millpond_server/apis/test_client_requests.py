"""Requests that clients of other servers send, and the responses that they need, over HTTP."""

import base64

import numpy as np
import pytest

from millpond import LLM

TEXTS = ["a cup of tea", "the old mill by the pond", "tea"]
EMBEDDINGS = ["/v1/embeddings", "/embeddings", "/vllm/v1/embeddings", "/infinity/embeddings", "/tei/embeddings"]
RERANKS = ["/rerank", "/v1/rerank", "/v2/rerank", "/vllm/rerank", "/cohere/v2/rerank", "/jina/v1/rerank"]
ERRORS = [
    ("/v1/embeddings", {"input": ""}, 400),
    ("/v1/embeddings", {"input": "a", "model": "nope"}, 404),
    ("/v2/embed", {}, 400),
    ("/v1/rerank", {"query": "a"}, 400),
    ("/score", {"text_1": "a"}, 400),
    ("/jina/v1/embeddings", {"input": 5}, 400),
    ("/infinity/rerank", {"query": "a", "documents": []}, 422),
    ("/nowhere", {}, 404),
    ("/v1/models", {}, 405),
]


@pytest.fixture(scope="module")
def vectors():
    with LLM("all-MiniLM-L6-v2") as llm:
        return np.stack([output.outputs.array for output in llm.embed(TEXTS, use_tqdm=False)])


def ask(http, path, **body):
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


# --- 1, 2, 3: encodings, token ids, the name of the model ------------------------------------------------------------


@pytest.mark.parametrize("path", [*EMBEDDINGS, "/jina/v1/embeddings"])
def test_openai_for_python_asks_for_base64(http, vectors, path):
    body = ask(http, path, input=TEXTS, model="all-MiniLM-L6-v2", encoding_format="base64")
    embeddings = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in body["data"]]
    np.testing.assert_allclose(embeddings, vectors, atol=1e-6)


@pytest.mark.parametrize("ids", [[101, 30522], [[101, 102], [30522]]])
def test_an_id_beyond_the_vocabulary_is_reported_with_the_valid_range(http, ids):
    answer = http.post("/v1/embeddings", json={"input": ids})
    message = answer.json()["error"]["message"]
    assert (answer.status_code, "30522" in message, "30521" in message) == (400, True, True), message


@pytest.mark.parametrize("named", [{}, {"model": None}, {"model": ""}, {"model": "default/not-specified"}])
def test_without_a_name_the_default_model_is_used(http, vectors, named):
    body = ask(http, "/v1/embeddings", input=TEXTS, **named)
    np.testing.assert_allclose([item["embedding"] for item in body["data"]], vectors, atol=1e-6)
    assert body["model"] == "all-MiniLM-L6-v2"


# --- 4, 5: nulls and unknown fields ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        (
            "/v1/embeddings",
            {"input": TEXTS},
            ["model", "user", "dimensions", "encoding_format", "embed_dtype", "endianness", "priority", "messages"],
        ),
        (
            "/v2/embed",
            {"texts": TEXTS},
            ["truncate", "max_tokens", "input_type", "embedding_types", "images", "priority"],
        ),
        ("/v1/embed", {"texts": TEXTS}, ["truncate", "input_type", "embedding_types"]),
        (
            "/v2/rerank",
            {"query": "a", "documents": TEXTS},
            ["top_n", "max_tokens_per_doc", "return_documents", "priority"],
        ),
        ("/rerank", {"query": "a", "texts": TEXTS}, ["raw_scores", "return_text", "truncate", "truncation_direction"]),
        ("/embed", {"inputs": TEXTS}, ["truncate", "normalize", "prompt_name", "dimensions"]),
        (
            "/score",
            {"text_1": "a", "text_2": TEXTS},
            ["max_tokens_per_query", "use_activation", "queries", "documents"],
        ),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": TEXTS}}, ["parameters"]),
        ("/tokenize", {"prompt": "a"}, ["model", "add_special_tokens", "return_token_strs"]),
        ("/jina/v1/embeddings", {"input": TEXTS}, ["task", "normalized", "embedding_type", "truncate"]),
    ],
)
def test_nulls_are_as_if_not_there(http, path, body, fields):
    without = ask(http, path, **body)
    nulls = ask(http, path, **body, **dict.fromkeys(fields))
    assert shape(nulls) == shape(without)


def shape(value):
    """Return a response without its numbers and its id."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


def test_nulls_inside_a_body_count_as_missing(http):
    wanted = {"task": "embed", "dimensions": None, "use_activation": None, "embedding_types": None}
    (item,) = ask(http, "/v1/represent", input=["a"], representations=[wanted])["data"]
    assert item["representations"][0]["shape"] == [384]
    inputs = {"source_sentence": "a", "sentences": TEXTS}
    parameters = {"truncate": None, "prompt_name": None, "truncation_direction": None}
    assert len(ask(http, "/similarity", inputs=inputs, parameters=parameters)) == 3


SEEN = {
    "task": "text-matching",
    "normalized": True,
    "late_chunking": False,
    "embedding_type": "float",
    "encoding_type": "float",
    "truncate": True,
    "modality": "text",
    "max_chunks_per_doc": 10,
    "instruction": "judge",
}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": TEXTS}),
        ("/embeddings", {"input": TEXTS}),
        ("/tei/embeddings", {"input": TEXTS}),
        ("/embed", {"inputs": TEXTS}),
        ("/infinity/rerank", {"query": "a", "documents": TEXTS}),
        ("/tokenize", {"prompt": "a"}),
    ],
)
def test_unknown_fields_are_listed_in_a_header_and_ignored(http, path, body):
    answer = http.post(path, json={**body, **SEEN})
    assert answer.status_code == 200, answer.text
    ignored = answer.headers["x-millpond-ignored"].split(", ")
    assert {"late_chunking", "modality", "encoding_type"} <= set(ignored) <= set(SEEN)
    assert "x-millpond-ignored" not in http.post(path, json=body).headers


def test_only_names_that_a_header_can_contain_are_listed(http):
    odd = {"a b": 1, "ü": 1, "x\r\nset-cookie": 1, "good": 1, **{f"many_{number}": 1 for number in range(100)}}
    answer = http.post("/v1/embeddings", json={"input": "a", **odd})
    assert answer.headers["x-millpond-ignored"].split(", ") == ["good", *(f"many_{number}" for number in range(15))]


# --- 6, 7: dimensions and purposes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *((path, {"input": TEXTS, "dimensions": 384}) for path in [*EMBEDDINGS, "/jina/v1/embeddings"]),
        ("/v2/embed", {"texts": TEXTS, "output_dimension": 384}),
        ("/v1/embed", {"texts": TEXTS, "output_dimension": 384}),
        ("/embed", {"inputs": TEXTS, "dimensions": 384}),
        ("/embeddings", {"input": TEXTS, "dimensions": 0}),  # the default of infinity-client
        ("/infinity/embeddings", {"input": TEXTS, "dimensions": 0}),
    ],
)
def test_the_full_size_may_always_be_requested(http, vectors, path, body):
    answer = ask(http, path, **body)
    embeddings = (
        answer if isinstance(answer, list) else answer.get("embeddings") or [i["embedding"] for i in answer["data"]]
    )
    np.testing.assert_allclose(embeddings["float"] if isinstance(embeddings, dict) else embeddings, vectors, atol=1e-6)


@pytest.mark.parametrize("path", ["/v1/embed", "/v2/embed"])
@pytest.mark.parametrize("purpose", ["search_document", "search_query", "classification", "clustering", "image"])
def test_every_input_type_of_cohere_is_accepted(http, vectors, path, purpose):
    embeddings = ask(http, path, texts=TEXTS, input_type=purpose, embedding_types=["float"])["embeddings"]["float"]
    np.testing.assert_allclose(embeddings, vectors, atol=1e-6)


# --- 8, 9, 10: paths, the two dialects of ranks, their order ----------------------------------------------------------


def test_embedding_types_that_vllm_lacks(http, vectors):
    body = ask(http, "/v2/embed", texts=TEXTS, embedding_types=["int8", "uint8"])["embeddings"]
    np.testing.assert_allclose(np.array(body["int8"]) / 127, vectors, atol=0.5 / 127 + 1e-6)
    np.testing.assert_array_equal(np.array(body["uint8"]) - 127, body["int8"])


@pytest.mark.parametrize("path", ["/rerank", "/tei/rerank"])
def test_ranks_of_texts_are_a_bare_list(http, path):
    ranks = ask(http, path, query=TEXTS[0], texts=TEXTS[1:], return_text=True)
    assert [(one["index"], one["text"]) for one in ranks] == [(1, TEXTS[2]), (0, TEXTS[1])]


@pytest.mark.parametrize("path", RERANKS)
def test_ranks_of_documents_are_objects_with_a_text(http, path):
    body = ask(http, path, query=TEXTS[0], documents=TEXTS[1:])
    assert {"id", "model", "results", "usage", "meta"} <= set(body)
    assert [(one["index"], one["document"]["text"]) for one in body["results"]] == [(1, TEXTS[2]), (0, TEXTS[1])]


def test_infinity_has_documents_as_texts(http):
    body = ask(http, "/infinity/rerank", query=TEXTS[0], documents=TEXTS[1:], return_documents=True)
    assert [(one["index"], one["document"]) for one in body["results"]] == [(1, TEXTS[2]), (0, TEXTS[1])]


@pytest.mark.parametrize("path", [*RERANKS, "/infinity/rerank"])
def test_equals_keep_the_order_of_the_request(http, path):
    results = ask(http, path, query="tea", documents=["snow", "tea", "snow", "tea"])["results"]
    assert [one["index"] for one in results] == [1, 3, 0, 2]
    scores = [one["relevance_score"] for one in results]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("path", ["/v2/rerank", "/cohere/v1/rerank", "/cohere/v2/rerank"])
def test_cohere_truncates_documents_at_any_limit(http, path):
    """4096 is the default of Cohere's clients, for models of any length."""
    long = ["tea " * 600, "snow " * 600]
    for limit in ({}, {"max_tokens_per_doc": 4096}, {"max_tokens_per_doc": None}):
        body = ask(http, path, query="tea", documents=long, **limit)
        assert [one["index"] for one in body["results"]] == [0, 1]
        assert body["usage"]["total_tokens"] < 1200
    assert http.post("/vllm/v2/rerank", json={"query": "tea", "documents": long}).status_code == 400
    refused = http.post("/rerank", json={"query": "tea", "documents": ["tea"], "max_tokens_per_doc": 4096})
    assert "must be less than max_model_len" in refused.json()["message"]


# --- 11: one body for all errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "body", "status"), ERRORS)
def test_every_client_finds_the_reason(http, path, body, status):
    answer = http.post(path, json=body)
    refusal = answer.json()
    assert answer.status_code == refusal["error"]["code"] == status
    assert set(refusal["error"]) == {"message", "type", "param", "code"}
    assert refusal["detail"] == refusal["message"] == refusal["error"]["message"] != ""
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/embeddings", {"input": ["tea", ""]}, "input"),
        ("/v1/embeddings", {"input": None, "messages": [{"role": "user", "content": "tea " * 600}]}, "messages"),
        ("/v1/embeddings", {"input": "tea", "dimensions": 5}, "dimensions"),
        ("/v2/embed", {"texts": ["tea " * 600], "truncate": "NONE"}, "texts"),
        ("/pooling", {"input": "tea", "task": "classify"}, "task"),
        ("/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_1"),
        ("/score", {"queries": "a", "items": []}, "items"),
        ("/score", {"data_1": "a", "data_2": []}, "data_2"),
        ("/rerank", {"query": "a", "documents": ["tea " * 600]}, "documents"),
        ("/rerank", {"query": "tea " * 600, "documents": ["a"]}, "query"),
    ],
)
def test_the_error_names_the_field_as_the_client_wrote_it(http, path, body, field):
    answer = http.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {}),
        ("/tei/rerank", {}),
        ("/rerank", {"query": "a", "texts": [5]}),
        ("/rerank", {"query": "", "texts": [""], "truncate": 5}),
        ("/tokenize", {"inputs": [5]}),
        ("/decode", {"ids": [99999]}),
    ],
)
def test_tei_routes_use_the_error_format_of_tei(http, path, body):
    answer = http.post(path, json=body)
    assert (answer.status_code, set(answer.json())) == (422, {"error", "error_type"})
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/openapi.json", "/nowhere"])
def test_every_answer_has_an_id(http, path):
    assert http.get(path, headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert len(http.get(path, headers={"x-request-id": "no id at all"}).headers["x-request-id"]) == 32


# --- 13, 14: models and usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/infinity/models", "/jina/v1/models", "/vllm/v1/models"])
def test_model_cards_have_the_fields_that_clients_read(http, path):
    (card,) = http.get(path).json()["data"]
    assert {"id", "object", "created", "owned_by", "max_model_len"} <= set(card)
    assert {"queue_fraction", "queue_absolute", "results_pending", "batch_size"} <= set(card["stats"])
    # infinity-client knows one owner.
    assert card["owned_by"] == ("infinity" if path in {"/models", "/infinity/models"} else "millpond")


def test_names_may_hold_slashes(local):
    with local(("org/tiny", "short")).client() as http:
        assert [card["id"] for card in http.get("/v1/models").json()["data"]] == ["org/tiny", "short"]
        for path in ("/v1/models/org/tiny", "/v1/models/org%2Ftiny"):
            assert http.get(path).json()["id"] == "org/tiny"
        assert http.get("/v1/models/org").status_code == 404
        assert http.post("/v1/embeddings", json={"input": "a", "model": "org/tiny"}).json()["model"] == "org/tiny"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *((path, {"input": TEXTS}) for path in [*EMBEDDINGS, "/jina/v1/embeddings", "/pooling"]),
        *((path, {"query": "a", "documents": TEXTS}) for path in [*RERANKS, "/infinity/rerank"]),
        ("/score", {"text_1": "a", "text_2": TEXTS}),
    ],
)
def test_usage_and_model_are_always_in_the_response(http, path, body):
    answer = ask(http, path, **body)
    assert answer["model"] == "all-MiniLM-L6-v2"
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0
