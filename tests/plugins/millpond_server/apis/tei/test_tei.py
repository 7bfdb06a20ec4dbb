"""Routes of text-embeddings-inference, tested against its API description: statuses, headers, tokens, dimensions."""

import numpy as np
import pytest

from millpond import LLM
from millpond.testing.checkpoints import tiny, write_sentence_transformers, write_sparse_encoder

TEXTS = ["the old mill", "snow on the hill", "a bird"]
TIMES = ("x-compute-time", "x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time")
WHERE = ("", "/tei")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tei")
    encoder = tiny("BertModel", root / "encoder")
    write_sentence_transformers(encoder, pooling="mean")
    sparse = tiny("BertForMaskedLM", root / "sparse")
    write_sparse_encoder(sparse)
    return {
        "encoder": str(encoder),
        "sparse": str(sparse),
        "classifier": str(tiny("BertForSequenceClassification", root / "classifier", num_labels=3)),
        "reranker": str(tiny("BertForSequenceClassification", root / "reranker", num_labels=1)),
    }


@pytest.fixture(scope="module")
def vectors(folders):
    with LLM(folders["encoder"]) as llm:
        return np.stack([output.outputs.array for output in llm.embed(TEXTS, use_tqdm=False)])


@pytest.fixture(scope="module")
def classifier_alone(application, folders):
    with application({"classifier": folders["classifier"]}) as call:
        yield call


@pytest.fixture(scope="module")
def encoder_alone(application, folders):
    with application({"encoder": folders["encoder"]}) as call:
        yield call


def asked(call, path, body):
    """Return the complete response to a body."""
    return call.runner.run(call.client.post(path, json=body))


# --- what a model does not serve --------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", WHERE)
@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/embed", {"inputs": "a"}, "Model is not an embedding model"),
        ("/embed_all", {"inputs": "a"}, "Model is not an embedding model"),
        ("/embed_sparse", {"inputs": "a"}, "Model is not an embedding model with SPLADE pooling"),
        ("/rerank", {"query": "a", "texts": ["b"]}, "model is not a re-ranker model"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}, "Model is not an embedding model"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("/") else "",
)
def test_a_classifier_returns_424_with_the_message_of_tei(classifier_alone, prefix, path, body, message):
    response = classifier_alone(f"{prefix}{path}", 424, **body)
    assert response == {"error": f"Backend error: {message}", "error_type": "Backend"}


@pytest.mark.parametrize("prefix", WHERE)
def test_an_encoder_answers_424_to_predict_and_embed_sparse(encoder_alone, prefix):
    assert "is not a classifier model" in encoder_alone(f"{prefix}/predict", 424, inputs="a")["error"]
    assert "SPLADE pooling" in encoder_alone(f"{prefix}/embed_sparse", 424, inputs="a")["error"]


def test_the_other_dialect_of_rerank_is_not_there_without_a_model_for_it(classifier_alone):
    assert classifier_alone("/rerank", 404, query="a", documents=["b"])["detail"] == "Not Found"


@pytest.mark.parametrize("prefix", WHERE)
def test_a_splade_model_returns_dense_vectors_only_without_normalization(post, prefix):
    refused = post(f"{prefix}/embed", 424, inputs="the mill", model="sparse")
    assert refused["error"] == "Backend error: `normalize` is not available for SPLADE models"
    assert "SPLADE" in post(f"{prefix}/embed_all", 424, inputs="the mill", model="sparse")["error"]
    (dense,) = post(f"{prefix}/embed", inputs="the mill", model="sparse", normalize=False)
    (weights,) = post(f"{prefix}/embed_sparse", inputs="the mill", model="sparse")
    assert {one["index"]: pytest.approx(one["value"], abs=1e-6) for one in weights} == {
        index: value for index, value in enumerate(dense) if value
    }


# --- info -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "characters", "tokens"),
    [
        ("/embed", {"inputs": ["the mill", "a"]}, 9, 7),
        ("/tei/embed", {"inputs": [[2, 5, 6, 3]]}, 4, 4),
        ("/embed_all", {"inputs": "the mill"}, 8, 4),
        ("/embed_sparse", {"inputs": "the mill", "model": "sparse"}, 8, 4),
        ("/predict", {"inputs": [["the mill", "a"], ["a"]], "model": "classifier"}, 10, 9),
        ("/rerank", {"query": "the mill", "texts": ["a", "the"], "model": "reranker"}, 20, 12),
        ("/tei/v1/embeddings", {"input": "the mill"}, 8, 4),
        ("/", {"inputs": "the mill"}, 8, 4),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_headers_contain_counts_and_times(post, path, body, characters, tokens):
    answer = asked(post, path, body)
    assert answer.status_code == 200, answer.text
    headers = answer.headers
    assert headers["x-compute-type"] == "cpu"
    assert int(headers["x-compute-characters"]) == characters
    assert int(headers["x-compute-tokens"]) == tokens
    times = {name: int(headers[name]) for name in TIMES}  # whole milliseconds
    assert min(times.values()) >= 0
    parts = times["x-tokenization-time"] + times["x-queue-time"] + times["x-inference-time"]
    assert parts <= times["x-total-time"] == times["x-compute-time"]


def test_health_is_available_under_the_prefix_too(post):
    answer = post.runner.run(post.client.get("/tei/health"))
    assert (answer.status_code, answer.content) == (200, b"")


def test_info_names_the_model_as_it_is_served(post, folders):
    info = post("/info")
    assert (info["served_model_name"], info["model_id"]) == ("encoder", "encoder")  # and not the folder
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}


def test_info_names_splade_like_tei(application, folders):
    with application({"sparse": folders["sparse"]}) as call:
        assert call("/info")["model_type"] == {"embedding": {"pooling": "splade"}}
        assert call("/", inputs="the mill") == call("/embed_sparse", inputs="the mill")


def test_tokens_contain_the_characters_of_the_text(post):
    text = "The  OLD Mill, älter"
    (tokens,) = post("/tei/tokenize", inputs=text)
    inner = [token for token in tokens if not token["special"]]
    assert all(token["text"] == text[token["start"] : token["stop"]] for token in inner)
    assert [token["text"] for token in inner][:4] == ["The", "OLD", "Mill", ","]
    ends = [token for token in tokens if token["special"]]
    assert [(end["text"], end["start"], end["stop"]) for end in ends] == [("[CLS]", None, None), ("[SEP]", None, None)]
    (bare,) = post("/tei/tokenize", inputs=text, add_special_tokens=False)
    assert bare == inner


# --- forms ------------------------------------------------------------------------------------------------------------


def test_tokens_after_an_unknown_prompt_are_refused(post):
    refused = post("/tei/tokenize", 422, inputs="a", prompt_name="nobody")
    assert "prompt_name='nobody'" in refused["error"]
    assert refused["error_type"] == "Validation"


def test_predict_takes_texts_and_pairs_in_one_request(post):
    mixed = post("/predict", inputs=[["the mill", "a"], ["snow"], "snow"], model="classifier")
    (pair,) = post("/predict", inputs=[["the mill", "a"]], model="classifier")
    alone = post("/predict", inputs="snow", model="classifier")
    for response, expected in zip(mixed, [pair, alone, alone], strict=True):
        assert [one["label"] for one in response] == [one["label"] for one in expected]
        np.testing.assert_allclose([one["score"] for one in response], [one["score"] for one in expected], atol=1e-6)
    assert post("/predict", inputs=["the mill", "a"], model="classifier") == pair  # a pair alone
    for wrong in ([["a", "b", "c"]], [[]], ["a", "b", "c"], [["a", 3]], [3]):
        assert post("/predict", 422, inputs=wrong, model="classifier")["error_type"] == "Validation"


@pytest.mark.parametrize("prefix", WHERE)
def test_dimensions_cut_the_vectors_of_any_model(post, encoder_alone, vectors, prefix):
    kept = vectors[:, :8] / np.linalg.norm(vectors[:, :8], axis=1, keepdims=True)
    path = f"{prefix}/embed"
    np.testing.assert_allclose(post(path, inputs=TEXTS, dimensions=8), kept, atol=1e-6)
    raw = np.array(post(path, inputs=TEXTS, normalize=False))
    np.testing.assert_allclose(post(path, inputs=TEXTS, dimensions=8, normalize=False), raw[:, :8], atol=1e-6)
    np.testing.assert_allclose(encoder_alone("/", inputs=TEXTS, dimensions=8), kept, atol=1e-6)
    assert "from 1 to 32" in post(path, 422, inputs=TEXTS, dimensions=33)["error"]


def test_dimensions_cut_vectors_in_the_format_of_openai_under_their_prefix(post, vectors):
    kept = vectors[:, :8] / np.linalg.norm(vectors[:, :8], axis=1, keepdims=True)
    response = post("/tei/v1/embeddings", input=TEXTS, dimensions=8)["data"]
    np.testing.assert_allclose([one["embedding"] for one in response], kept, atol=1e-6)
    assert "does not support matryoshka" in post("/v1/embeddings", 400, input=TEXTS, dimensions=8)["message"]


@pytest.mark.parametrize("path", ["/tei/v1/embeddings", "/tei/embeddings"])
def test_their_route_of_openai_has_their_errors(post, classifier_alone, vectors, path):
    response = post(path, input=TEXTS)
    np.testing.assert_allclose([one["embedding"] for one in response["data"]], vectors, atol=1e-6)
    assert (response["object"], response["model"], response["usage"]["total_tokens"] > 0) == ("list", "encoder", True)
    long = post(path, input="mill " * 100)
    assert long["usage"]["total_tokens"] == 64  # cut, as they do by default
    for body in (
        {"input": "mill " * 100, "truncate": False},
        {"input": ""},
        {"input": ["a", ""]},
        {"input": [99999]},
        {"input": 3},
        {},
    ):
        refused = post(path, 422, **{"model": "encoder", **body})
        assert (refused["code"], refused["type"], refused["error_type"]) == (422, "Validation", "Validation")
        assert refused["message"] == refused["error"]
    refused = post(path, 400, input=[])
    assert (refused["code"], refused["type"]) == (400, "Empty")
    assert classifier_alone(path, 424, input="a")["type"] == "Backend"
