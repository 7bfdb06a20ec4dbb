"""Routes of classifiers and cross-encoders: the same numbers as ``LLM`` in the formats of vLLM, Infinity and TEI."""

import numpy as np
import pytest

from millpond import LLM, PoolingParams
from millpond.testing.checkpoints import tiny

TEXTS = ["the old mill", "snow on the hill", "a bird"]
QUERY = "where is the mill?"
CLASSES = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A classifier and a cross-encoder."""
    root = tmp_path_factory.mktemp("classes")
    return {
        "classifier": str(tiny("BertForSequenceClassification", root / "classifier", num_labels=CLASSES)),
        "reranker": str(tiny("BertForSequenceClassification", root / "reranker", num_labels=1)),
    }


@pytest.fixture(scope="module")
def labels(folders):
    with LLM(folders["classifier"]) as llm:
        return list(llm.model_config.labels)


@pytest.fixture(scope="module")
def probabilities(folders):
    with LLM(folders["classifier"]) as llm:
        return np.stack([output.outputs.array for output in llm.classify(TEXTS, use_tqdm=False)])


@pytest.fixture(scope="module")
def logits(folders):
    with LLM(folders["classifier"]) as llm:
        params = PoolingParams(use_activation=False)
        return np.stack([out.outputs.array for out in llm.classify(TEXTS, pooling_params=params, use_tqdm=False)])


@pytest.fixture(scope="module")
def scores(folders):
    with LLM(folders["reranker"]) as llm:
        return np.array([output.outputs.score for output in llm.score(QUERY, TEXTS, use_tqdm=False)])


def ordered(row, labels):
    """Return classes with their labels, most probable first."""
    return [{"label": labels[index], "score": pytest.approx(row[index], abs=1e-6)} for index in np.argsort(-row)]


def test_vllm_has_probabilities_in_their_order(post, probabilities, logits, labels):
    body = post("/classify", input=TEXTS, model="classifier")
    np.testing.assert_allclose([item["probs"] for item in body["data"]], probabilities, atol=1e-6)
    assert [item["label"] for item in body["data"]] == [labels[index] for index in probabilities.argmax(1)]
    assert {item["num_classes"] for item in body["data"]} == {CLASSES}
    assert (body["model"], body["usage"]["total_tokens"] > 0) == ("classifier", True)
    raw = post("/classify", input=TEXTS, use_activation=False)
    np.testing.assert_allclose([item["probs"] for item in raw["data"]], logits, atol=1e-5)
    bare = post("/pooling", input=TEXTS, task="classify")
    np.testing.assert_allclose([item["data"] for item in bare["data"]], probabilities, atol=1e-6)


def test_infinity_has_classes_by_their_names(post, probabilities, logits, labels):
    body = post("/infinity/classify", input=TEXTS, model="classifier")
    assert body["data"] == [ordered(row, labels) for row in probabilities]
    assert (body["object"], body["usage"]["total_tokens"] > 0) == ("classify", True)
    raw = post("/infinity/classify", input=TEXTS, raw_scores=True)
    assert [[one["label"] for one in row] for row in raw["data"]] == [
        [one["label"] for one in ordered(row, labels)] for row in logits
    ]
    np.testing.assert_allclose([row[0]["score"] for row in raw["data"]], logits.max(1), atol=1e-5)


@pytest.mark.parametrize("path", ["/predict", "/tei/predict", "/"])
def test_tei_has_one_list_for_a_text_and_lists_for_many(post, probabilities, labels, path):
    assert post(path, inputs=TEXTS[0]) == ordered(probabilities[0], labels)
    assert post(path, inputs=[[text] for text in TEXTS]) == [ordered(row, labels) for row in probabilities]


def test_tei_predicts_pairs(post, scores):
    results = post("/predict", inputs=[[QUERY, text] for text in TEXTS], model="reranker")
    np.testing.assert_allclose([row[0]["score"] for row in results], scores, atol=1e-6)


def test_tei_predicts_the_classes_of_pairs(post, folders, labels):
    with LLM(folders["classifier"]) as llm:
        pairs = [{"text": QUERY, "text_pair": text} for text in TEXTS]
        expected = [output.outputs.array for output in llm.classify(pairs, use_tqdm=False)]
    results = post("/predict", inputs=[[QUERY, text] for text in TEXTS], model="classifier")
    for one, probabilities in zip(results, expected, strict=True):
        assert [item["label"] for item in one] == [labels[index] for index in np.argsort(-probabilities)]
        assert [item["score"] for item in one] == pytest.approx(sorted(probabilities, reverse=True), abs=1e-6)
    assert post("/predict", inputs=[[QUERY, TEXTS[0]]], model="classifier") == results[:1]
    raw = post("/predict", inputs=[[QUERY, TEXTS[0]]], model="classifier", raw_scores=True)[0]
    assert {item["label"] for item in raw} == set(labels)
    assert sum(item["score"] for item in raw) != pytest.approx(1, abs=1e-3)
    post("/predict", 422, inputs=[[QUERY, 3]], model="classifier")


@pytest.mark.parametrize("path", ["/classify", "/vllm/classify", "/infinity/classify"])
def test_pairs_of_texts_are_classified_among_single_ones(post, folders, path):
    pair = {"text": QUERY, "text_pair": TEXTS[0]}
    with LLM(folders["classifier"]) as llm:
        expected = [output.outputs.array for output in llm.classify([pair, TEXTS[1]], use_tqdm=False)]

    def found(inputs):
        rows = post(path, input=inputs, model="classifier")["data"]
        return [row["probs"] if isinstance(row, dict) else row for row in rows]

    def same(row, wanted):
        if isinstance(row[0], dict):
            row, wanted = [one["score"] for one in row], sorted(wanted, reverse=True)
        np.testing.assert_allclose(row, wanted, atol=1e-6)

    for inputs in ([pair, TEXTS[1]], [[QUERY, TEXTS[0]], TEXTS[1]]):
        for row, wanted in zip(found(inputs), expected, strict=True):
            same(row, wanted)
    same(found(pair)[0], expected[0])
    assert len(found([QUERY, TEXTS[0]])) == 2  # a list of texts is texts


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"text": "a", "text_pair": 3}, "text and text_pair must be str; got str and int"),
        ([["a", "b", "c"]], "a pair of texts is"),
        ([{"text_pair": "a"}], "got the keys"),
    ],
    ids=repr,
)
def test_invalid_pairs_are_refused(post, inputs, message):
    assert message in post("/classify", 400, input=inputs, model="classifier")["error"]["message"]


def test_pairs_cannot_do_without_special_tokens(post):
    refused = post("/classify", 400, input=[["a", "b"]], add_special_tokens=False, model="classifier")["error"]
    assert refused["param"] == "add_special_tokens"


def test_tei_describes_the_model(post, labels):
    kind = post("/info")["model_type"]["classifier"]
    assert kind["id2label"] == {str(index): label for index, label in enumerate(labels)}
    assert kind["label2id"] == {label: index for index, label in enumerate(labels)}


def test_a_cross_encoder_ranks_in_every_dialect(post, scores):
    best = np.argsort(-scores).tolist()
    results = post("/rerank", query=QUERY, documents=TEXTS, model="reranker")["results"]
    assert [one["index"] for one in results] == best
    np.testing.assert_allclose([one["relevance_score"] for one in results], scores[best], atol=1e-6)
    results = post("/infinity/rerank", query=QUERY, documents=TEXTS, model="reranker", return_documents=True)["results"]
    assert [(one["index"], one["document"]) for one in results] == [(index, TEXTS[index]) for index in best]
    results = post("/tei/rerank", query=QUERY, texts=TEXTS, model="reranker")
    assert [one["index"] for one in results] == best
    results = post("/score", text_1=QUERY, text_2=TEXTS, model="reranker")["data"]
    np.testing.assert_allclose([one["score"] for one in results], scores, atol=1e-6)


def test_unsupported_tasks_of_a_model_are_refused(post):
    assert "num_labels == 1" in post("/score", 400, text_1=QUERY, text_2=TEXTS, model="classifier")["message"]
    assert "Embedding API is not supported" in post("/pooling", 400, input="a", task="embed")["message"]
