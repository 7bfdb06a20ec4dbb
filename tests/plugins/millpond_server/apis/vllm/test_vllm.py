"""The pooling routes as vLLM's clients and tests expect them: fields, ids, and error messages."""

import json

import pytest

from millpond.testing.checkpoints import tiny

TEXT = "the old mill by the pond"
TASKS = ("embed", "token_embed", "classify", "token_classify")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A small model of each type, by its served name."""
    root = tmp_path_factory.mktemp("vllm")
    return {
        "embedder": str(tiny("BertModel", root / "embedder")),
        "classifier": str(tiny("BertForSequenceClassification", root / "classifier", num_labels=2)),
        "reranker": str(tiny("BertForSequenceClassification", root / "reranker", num_labels=1)),
    }


def error(post, path, **body):
    """Return the error of a refused request."""
    return post(path, status=400, **body)["error"]


# --- error messages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["embedder", "classifier", "reranker"])
@pytest.mark.parametrize("task", TASKS)
def test_an_unsupported_task_is_refused_with_vllms_message(post, model, task):
    supported = ("embed", "token_embed") if model == "embedder" else ("classify", "token_classify")
    if task in supported:
        assert len(post("/pooling", model=model, input=TEXT, task=task)["data"]) == 1
        return
    refusal = error(post, "/pooling", model=model, input=TEXT, task=task)
    assert (refusal["type"], refusal["param"]) == ("BadRequestError", "task")
    assert refusal["message"].startswith(f"Unsupported task: {task!r} Supported tasks: ('{supported[0]}', ")
    assert f"--convert {task.removeprefix('token_')}" in refusal["message"]


@pytest.mark.parametrize("model", ["embedder", "classifier"])
@pytest.mark.parametrize("body", [{"input": TEXT, "task": "plugin"}, {"data": {"input": TEXT}}], ids=str)
def test_the_task_plugin_without_a_plugin_is_refused_with_those_that_are_installed(post, model, body):
    message = error(post, "/pooling", model=model, **body)["message"]
    assert message.startswith("No IOProcessor plugin installed. Name one ")
    assert "Available: bge_m3_sparse_plugin, colbert_query_plugin" in message


@pytest.mark.parametrize("path", ["/v1/embeddings", "/pooling"])
@pytest.mark.parametrize("token", [-1, 100_000])
def test_a_token_id_out_of_the_vocabulary_is_refused(post, path, token):
    refusal = error(post, path, model="embedder", input=[5, token])
    assert f"Token id {token} is out of vocabulary" in refusal["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "embedder", "input": TEXT}),
        ("/pooling", {"model": "embedder", "input": TEXT}),
        ("/classify", {"model": "classifier", "input": TEXT}),
        ("/score", {"model": "embedder", "queries": TEXT, "documents": [TEXT, "a"]}),
        ("/score", {"model": "reranker", "queries": TEXT, "documents": [TEXT, "a"]}),
        ("/rerank", {"model": "reranker", "query": TEXT, "documents": [TEXT, "a"]}),
    ],
)
def test_a_truncation_size_over_the_maximum_is_refused_with_vllms_message(post, path, body):
    refusal = error(post, path, **body, truncate_prompt_tokens=65)
    assert refusal["message"] == (
        "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size."
    )
    assert refusal["param"] == "truncate_prompt_tokens"


@pytest.mark.parametrize("model", ["embedder", "reranker"])
@pytest.mark.parametrize(("path", "sides"), [("/score", ("queries", "documents")), ("/rerank", ("query", "documents"))])
def test_a_pair_over_the_maximum_is_refused_with_a_hint(post, model, path, sides):
    message = error(post, path, model=model, **{sides[0]: "mill " * 100, sides[1]: [TEXT, "a"]})["message"]
    assert "This model's maximum context length is 64 tokens. However, " in message
    assert "Please reduce the length of the input prompt" in message


@pytest.mark.parametrize("model", ["embedder", "reranker"])
@pytest.mark.parametrize("name", ["max_tokens_per_doc", "max_tokens_per_query"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, "{name} must be a non-negative integer"),
        (64, "{name} (64) must be less than max_model_len (64)."),
    ],
)
def test_a_limit_of_tokens_that_does_not_fit_is_refused(post, model, name, value, message):
    for path, query in (("/score", "queries"), ("/rerank", "query")):
        refusal = error(post, path, model=model, **{query: TEXT}, documents=[TEXT], **{name: value})
        assert refusal["message"].startswith(message.format(name=name))
        assert refusal["param"] == name


@pytest.mark.parametrize("path", ["/score", "/rerank"])
def test_scores_of_a_model_with_several_labels_are_refused(post, path):
    body = {"queries": TEXT} if path == "/score" else {"query": TEXT}
    refusal = error(post, path, model="classifier", **body, documents=["a"])
    assert refusal["message"].startswith("Scoring API is only enabled for num_labels == 1.")


# --- ids and padding --------------------------------------------------------------------------------------------------

ROUTES = [
    ("/v1/embeddings", {"model": "embedder", "input": TEXT}, "embd"),
    ("/pooling", {"model": "embedder", "input": TEXT}, "pooling"),
    ("/classify", {"model": "classifier", "input": TEXT}, "classify"),
    ("/score", {"model": "reranker", "queries": TEXT, "documents": "a"}, "score"),
    ("/rerank", {"model": "reranker", "query": TEXT, "documents": ["a"]}, "rerank"),
]


@pytest.mark.parametrize(("path", "body", "prefix"), ROUTES)
def test_the_id_of_a_response_ends_with_that_of_the_request(post, path, body, prefix):
    assert post(path, **body, request_id="job 7/a")["id"] == f"{prefix}-job 7/a"
    first, second = (post(path, **body)["id"] for _ in range(2))
    assert first.startswith(f"{prefix}-")
    assert first != second


@pytest.mark.parametrize(("path", "body", "prefix"), ROUTES)
def test_an_id_in_the_header_takes_precedence_over_one_in_the_body(post, path, body, prefix):
    sent = post.client.post(path, json={**body, "request_id": "body"}, headers={"x-request-id": "head"})
    assert post.runner.run(sent).json()["id"] == f"{prefix}-head"


@pytest.mark.parametrize("value", ["", "a\nb", "ü", "x" * 257, 5])
def test_an_id_that_is_invalid_in_a_header_is_refused(post, value):
    assert "request_id" in error(post, "/pooling", model="embedder", input=TEXT, request_id=value)["message"]


def test_the_id_of_the_body_is_in_the_header_of_bytes(post):
    body = {"model": "embedder", "input": TEXT, "encoding_format": "bytes", "request_id": "a b"}
    answer = post.runner.run(post.client.post("/pooling", json=body))
    assert json.loads(answer.headers["metadata"])["id"] == "pooling-a b"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "embedder", "input": TEXT}),
        ("/pooling", {"model": "embedder", "input": TEXT}),
        ("/classify", {"model": "classifier", "input": TEXT}),
    ],
)
def test_texts_are_padded_on_request(post, path, body):
    plain, padded = (post(path, **body, padding=way) for way in ("do_not_pad", "max_length"))
    assert plain["usage"] == post(path, **body)["usage"]
    assert padded["usage"]["prompt_tokens"] == 64
    assert plain["data"] == post(path, **body)["data"] != padded["data"]
    assert "padding" in error(post, path, **body, padding="longest")["message"]


def test_padding_of_pairs_that_are_read_together_is_refused(post):
    refusal = error(post, "/score", model="reranker", queries=TEXT, documents="a", padding="max_length")
    assert (refusal["param"], "not supported for pairs" in refusal["message"]) == ("padding", True)


@pytest.mark.parametrize(("path", "body", "prefix"), [route for route in ROUTES if route[0] != "/pooling"])
def test_invocations_equal_the_route(post, path, body, prefix):
    answer, expected = (post(each, **body, request_id="i") for each in ("/invocations", path))
    assert answer["id"] == f"{prefix}-i"
    assert {**answer, "created": 0} == {**expected, "created": 0}


# --- removed parameters, late chunking --------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "body", "prefix"), ROUTES[1:])
@pytest.mark.parametrize("name", ["normalize", "softmax", "activation"])
def test_parameters_that_vllm_removed_are_refused_with_its_messages(post, path, body, prefix, name):
    refusal = error(post, path, **body, **{name: False})
    assert refusal["message"] == f"Parameter `{name}` was removed; use `use_activation` instead."
    assert refusal["param"] == name
    assert post(path, **body, **{name: None})["id"].startswith(prefix)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("score", "`score` task was removed; use `classify` instead."),
        ("encode", "`encode` task was removed; use `token_embed` or `token_classify` instead."),
    ],
)
def test_tasks_that_vllm_removed_are_refused_with_its_messages(post, task, message):
    refusal = error(post, "/pooling", model="embedder", input=TEXT, task=task)
    assert (refusal["message"], refusal["param"]) == (message, "task")


def test_pooling_returns_vectors_and_positions_of_chunks(post):
    body = {"model": "embedder", "input": [TEXT, "a"], "task": "token_embed", "late_chunking_params": {"chunk_size": 3}}
    first, second = post("/pooling", **body)["data"]
    assert first["late_chunking"] == {
        "chunk_size": 3,
        "input_tokens": 8,
        "chunks": [
            {"token_range": [0, 3], "char_range": [0, 7]},
            {"token_range": [3, 6], "char_range": [8, 19]},
            {"token_range": [6, 8], "char_range": [20, 24]},
        ],
    }
    assert (len(first["data"]), len(second["data"])) == (3, 1)
    (plain,) = post("/pooling", **{**body, "input": TEXT, "late_chunking_params": None})["data"]
    assert (len(plain["data"]), "late_chunking" in plain) == (8, False)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"task": "embed", "late_chunking_params": {"chunk_size": 3}}, "Late chunking requires token_embed"),
        ({"late_chunking_params": {"chunk_size": 3}}, "Late chunking requires token_embed"),
        ({"task": "token_embed", "late_chunking_params": {"chunk_size": 0}}, "must be a positive integer"),
        ({"task": "token_embed", "late_chunking_params": {"chunk_size": "3"}}, "chunk_size"),
        ({"task": "token_embed", "late_chunking_params": {"size": 3}}, "chunk_size"),
        (
            {"task": "token_embed", "late_chunking_params": {"chunk_size": 3}, "truncate_prompt_tokens": 4},
            "Late chunking does not support",
        ),
        (
            {"task": "token_embed", "late_chunking_params": {"chunk_size": 3}, "input": [5, 6]},
            "Late chunking requires nonempty plain-text input",
        ),
    ],
)
def test_late_chunking_of_other_tasks_is_refused(post, body, message):
    assert message in error(post, "/pooling", **{"model": "embedder", "input": TEXT, **body})["message"]
