"""The pooling routes as used by vLLM's online tests: bodies, usage, encodings, chats, invocations."""

import base64
import json

import numpy as np
import pytest

from millpond.testing.checkpoints import tiny

TEXT = "the old mill by the pond"
IDS = [2, 160, 136, 130, 3]
LONG_TEXT = "the old mill " * 60
LONGEST = 64
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
CHAT = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "a dog"}]
WRITTEN = "user: the cat\nassistant: a dog\n"
TYPES = {"float32": "f4", "float16": "f2"}
ENDS = {"little": "<", "big": ">", "native": "="}
VECTORS = [("/v1/embeddings", "embedding"), ("/pooling", "data")]
PLURAL, SINGLE = ["a mill", "a pond"], "a mill"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A small model of each type, by its served name; the embedder has a chat template."""
    root = tmp_path_factory.mktemp("online")
    embedder = tiny("BertModel", root / "embedder")
    (embedder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return {
        "embedder": str(embedder),
        "classifier": str(tiny("BertForSequenceClassification", root / "classifier", num_labels=3)),
        "reranker": str(tiny("BertForSequenceClassification", root / "reranker", num_labels=1)),
        "tagger": str(tiny("BertForTokenClassification", root / "tagger", num_labels=4)),
    }


@pytest.fixture
def send(post):
    """Return the response to a body."""
    return lambda path, **body: post.runner.run(post.client.post(path, json=body))


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


# --- forms of inputs, and usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "counts"),
    [
        ("the old mill", [5]),
        (["the old mill", ""], [5, 2]),
        (IDS, [5]),
        ([IDS, [2, 3]], [5, 2]),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("path", "model"), [("/vllm/v1/embeddings", "embedder"), ("/pooling", "embedder"), ("/classify", "classifier")]
)
def test_inputs_are_texts_or_tokens_one_or_many(post, path, model, inputs, counts):
    response = post(path, model=model, input=inputs)
    assert response["object"] == "list"
    assert response["model"] == model
    assert [item["index"] for item in response["data"]] == list(range(len(counts)))
    assert (response["usage"]["prompt_tokens"], response["usage"]["total_tokens"]) == (sum(counts), sum(counts))
    assert response["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize(("path", "key"), VECTORS)
def test_token_ids_have_the_vector_of_their_text(post, path, key):
    (text, ids) = (post(path, model="embedder", input=inputs)["data"][0][key] for inputs in ("the old mill", IDS))
    assert text == ids


@pytest.mark.parametrize(("path", "key"), VECTORS)
def test_special_tokens_can_be_left_out(post, path, key):
    bare = post(path, model="embedder", input="the old mill", add_special_tokens=False)
    assert bare["usage"]["prompt_tokens"] == 3
    assert bare["data"][0][key] == post(path, model="embedder", input=IDS[1:-1])["data"][0][key]


@pytest.mark.parametrize(
    ("path", "model", "body"),
    [
        ("/v1/embeddings", "embedder", {"input": LONG_TEXT}),
        ("/pooling", "embedder", {"input": LONG_TEXT}),
        ("/classify", "classifier", {"input": LONG_TEXT}),
        ("/score", "reranker", {"queries": "a", "documents": LONG_TEXT}),
        ("/rerank", "reranker", {"query": "a", "documents": [LONG_TEXT]}),
    ],
)
@pytest.mark.parametrize(("size", "kept"), [(10, 10), (-1, LONGEST)])
def test_a_prompt_is_truncated_to_the_requested_size(post, path, model, body, size, kept):
    assert post(path, model=model, truncate_prompt_tokens=size, **body)["usage"]["prompt_tokens"] == kept
    response = post(path, model=model, truncate_prompt_tokens=LONGEST + 1, status=400, **body)["error"]
    assert response["type"] == "BadRequestError"
    assert response["message"] == (
        "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size."
    )


@pytest.mark.parametrize("path", ["/v1/embeddings", "/pooling"])
def test_an_input_must_be_given(post, path):
    for body in ({"input": []}, {"input": None}, {}):
        assert post(path, model="embedder", status=400, **body)["error"]["code"] == 400


# --- encodings --------------------------------------------------------------------------------------------------------


def bits(values, dtype, end):
    """Return a vector as numbers of the dtype and byte order of the request."""
    return np.asarray(values, "f4").astype(ENDS[end] + TYPES[dtype])


@pytest.mark.parametrize(("path", "key"), VECTORS)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("dtype", TYPES)
def test_vectors_are_written_in_the_requested_encoding(post, send, path, key, dtype, end):
    asked = {"model": "embedder", "input": PLURAL, "embed_dtype": dtype, "endianness": end}
    plain = [item[key] for item in post(path, model="embedder", input=PLURAL)["data"]]
    expected = [bits(vector, dtype, end) for vector in plain]
    for vector, item in zip(expected, post(path, encoding_format="base64", **asked)["data"], strict=True):
        read = np.frombuffer(base64.b64decode(item[key]), vector.dtype)
        np.testing.assert_allclose(read.astype("f4"), vector.astype("f4"), rtol=1e-3, atol=1e-4)
    answer = send(path, encoding_format="bytes", **asked)
    assert answer.headers["content-type"] == "application/octet-stream"
    response = json.loads(answer.headers["metadata"])
    assert response["usage"]["prompt_tokens"] == 8
    for number, item in enumerate(response["data"]):
        assert (item["index"], item["embed_dtype"], item["endianness"]) == (number, dtype, end)
        read = np.frombuffer(answer.content[item["start"] : item["end"]], expected[number].dtype)
        np.testing.assert_allclose(read.astype("f4"), expected[number].astype("f4"), rtol=1e-3, atol=1e-4)
    bare = send(path, encoding_format="bytes_only", **asked)
    assert bare.content == answer.content
    assert "metadata" not in bare.headers


@pytest.mark.parametrize(("path", "key"), VECTORS)
@pytest.mark.parametrize("name", ["encoding_format", "embed_dtype", "endianness"])
def test_unknown_encodings_are_refused(post, path, key, name):
    response = post(path, model="embedder", input=TEXT, status=400, **{name: f"bad_{name}"})["error"]
    assert "literal_error" in response["message"]
    assert f"bad_{name}" in response["message"]


# --- chats ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "key"), VECTORS)
def test_a_chat_is_the_text_that_the_template_writes(post, path, key):
    chat = post(path, model="embedder", messages=CHAT)
    text = post(path, model="embedder", input=WRITTEN, add_special_tokens=False)
    assert chat["data"][0][key] == text["data"][0][key]
    assert chat["usage"] == text["usage"]
    special = post(path, model="embedder", messages=CHAT, add_special_tokens=True)
    assert special["data"][0][key] == post(path, model="embedder", input=WRITTEN)["data"][0][key]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/pooling"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"continue_final_message": True, "add_generation_prompt": True},
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True.",
        ),
        ({"chat_template": "x"}, "Chat template is passed with request, but --trust-request-chat-template is not set."),
    ],
    ids=["both", "template"],
)
def test_chats_that_cannot_be_written_are_refused(post, path, body, message):
    assert message in post(path, model="embedder", messages=CHAT, status=400, **body)["error"]["message"]


def test_a_chat_is_classified(post):
    response = post("/classify", model="classifier", messages=CHAT[:1])
    assert len(response["data"][0]["probs"]) == response["data"][0]["num_classes"] == 3


# --- activations ------------------------------------------------------------------------------------------------------


def test_classes_are_probabilities_by_default(post):
    default, used, bare = (
        np.array(post("/classify", model="classifier", input=TEXT, **more)["data"][0]["probs"])
        for more in ({}, {"use_activation": True}, {"use_activation": False})
    )
    assert default.tolist() == used.tolist()
    np.testing.assert_allclose(softmax(bare), used, atol=1e-5)
    assert not np.allclose(bare, used, atol=1e-2)


def test_classes_name_the_likeliest(post):
    (item,) = post("/classify", model="classifier", input=TEXT)["data"]
    assert item["label"] == f"LABEL_{int(np.argmax(item['probs']))}"


def test_scores_are_between_0_and_1_by_default(post):
    default, used, bare = (
        post("/score", model="reranker", queries="a", documents="b", **more)["data"][0]["score"]
        for more in ({}, {"use_activation": True}, {"use_activation": False})
    )
    assert default == used == pytest.approx(1 / (1 + np.exp(-bare)), abs=1e-5)
    ranked = post("/rerank", model="reranker", query="a", documents=["b"], use_activation=False)
    assert ranked["results"][0]["relevance_score"] == bare


# --- tasks of /pooling ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "task", "shape"),
    [
        ("embedder", "embed", (32,)),
        ("embedder", "token_embed", (8, 32)),
        ("classifier", "classify", (3,)),
        ("classifier", "token_classify", (8, 3)),
        ("reranker", "classify", (1,)),
        ("reranker", "token_classify", (8, 1)),
        ("tagger", "token_classify", (8, 4)),
    ],
)
def test_each_task_of_a_model_has_its_shape(post, model, task, shape):
    (item,) = post("/pooling", model=model, input=TEXT, task=task)["data"]
    assert item["object"] == "pooling"
    assert np.array(item["data"]).shape == shape


@pytest.mark.parametrize(
    ("model", "task"), [("embedder", "embed"), ("classifier", "classify"), ("tagger", "token_classify")]
)
def test_the_task_need_not_be_named(post, model, task):
    bare = post("/pooling", model=model, input=TEXT)["data"]
    assert bare == post("/pooling", model=model, input=TEXT, task=task)["data"]


# --- pairs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["embedder", "reranker"])
@pytest.mark.parametrize(
    "names", [("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")], ids=str
)
@pytest.mark.parametrize(
    ("first", "second", "count"),
    [(SINGLE, SINGLE, 1), (SINGLE, PLURAL, 2), (PLURAL, PLURAL, 2), ([SINGLE], PLURAL, 2)],
    ids=["1:1", "1:N", "N:N", "[1]:N"],
)
def test_pairs_have_all_field_names_of_vllm(post, model, names, first, second, count):
    response = post("/score", model=model, **dict(zip(names, (first, second), strict=True)))
    assert [(item["index"], item["object"]) for item in response["data"]] == [
        (index, "score") for index in range(count)
    ]
    assert response["usage"]["prompt_tokens"] == response["usage"]["total_tokens"]


@pytest.mark.parametrize("model", ["embedder", "reranker"])
@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (PLURAL, ["a", "b", "c"], "Input lengths must be either 1:1, 1:N or N:N"),
        ([], SINGLE, "At least one text element must be given"),
        (SINGLE, [], "At least one text_pair element must be given"),
    ],
)
def test_pairs_that_do_not_match_are_refused(post, model, first, second, message):
    response = post("/score", model=model, queries=first, documents=second, status=400)["error"]
    assert message in response["message"]


def test_the_usage_of_a_pair_counts_its_special_tokens(post):
    one = post("/score", model="reranker", queries="a", documents="b")["usage"]["prompt_tokens"]
    assert one == len([2, "a", 3, "b", 3])
    both = post("/score", model="embedder", queries="a", documents="b")["usage"]["prompt_tokens"]
    assert both == len([2, "a", 3, 0, 2, "b", 3])  # as upstream counts them, with a padding token between


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
@pytest.mark.parametrize("model", ["embedder", "reranker"])
def test_documents_are_ranked_by_their_scores(post, path, model):
    documents = ["a dog", "the old mill", "by the pond"]
    scores = [item["score"] for item in post("/score", model=model, queries=TEXT, documents=documents)["data"]]
    results = post(path, model=model, query=TEXT, documents=documents)["results"]
    assert [item["index"] for item in results] == sorted(range(3), key=lambda index: -scores[index])
    for item in results:
        assert item["relevance_score"] == scores[item["index"]]
        assert item["document"]["text"] == documents[item["index"]]
    best = post(path, model=model, query=TEXT, documents=documents, top_n=1)["results"]
    assert best == results[:1]


# --- invocations, and other routes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "embedder", "input": TEXT, "encoding_format": "float"}),
        ("/v1/embeddings", {"model": "embedder", "messages": CHAT}),
        ("/classify", {"model": "classifier", "input": TEXT}),
        ("/score", {"model": "reranker", "queries": SINGLE, "documents": PLURAL}),
        ("/rerank", {"model": "reranker", "query": SINGLE, "documents": PLURAL}),
    ],
)
def test_invocations_return_the_response_of_the_route(post, path, body):
    direct, invoked = (post(one, **body) for one in (path, "/invocations"))
    assert direct.keys() == invoked.keys()
    kept = "results" if path == "/rerank" else "data"
    assert (direct[kept], direct["usage"]) == (invoked[kept], invoked["usage"])


def test_an_unknown_model_is_not_found(post):
    for path, body in (("/v1/embeddings", {"input": "a"}), ("/pooling", {"input": "a"}), ("/classify", {"input": "a"})):
        response = post(path, model="other", status=404, **body)["error"]
        assert response["type"] == "NotFoundError"
        assert response["message"].startswith("The model `other` does not exist.")


def test_dimensions_that_a_model_was_not_trained_for_are_refused(post):
    response = post("/v1/embeddings", model="embedder", input="a", dimensions=16, status=400)["error"]
    assert "does not support matryoshka representation" in response["message"]
    response = post("/pooling", model="embedder", input="a", dimensions=16, status=400)["error"]
    assert "dimensions is currently not supported" in response["message"]


def test_tokens_of_a_text_and_of_a_chat(post):
    response = post("/tokenize", model="embedder", prompt="the old mill", return_token_strs=True)
    assert (response["tokens"], response["count"], response["max_model_len"]) == (IDS, 5, LONGEST)
    assert response["token_strs"][1:-1] == ["the", "old", "mill"]
    chat = post("/tokenize", model="embedder", messages=CHAT, add_generation_prompt=False)["tokens"]
    assert chat == post("/tokenize", model="embedder", prompt=WRITTEN, add_special_tokens=False)["tokens"]
    assert post("/detokenize", model="embedder", tokens=IDS[1:-1])["prompt"] == "the old mill"
