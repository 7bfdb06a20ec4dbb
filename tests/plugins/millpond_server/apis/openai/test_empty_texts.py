"""Empty texts over HTTP: embedded by APIs that support them, refused by TEI and OpenAI."""

import numpy as np
import pytest

from millpond import LLM
from millpond.testing.checkpoints import tiny


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("empty")
    return {
        "encoder": str(tiny("BertModel", root / "encoder")),
        "classifier": str(tiny("BertForSequenceClassification", root / "classifier", num_labels=3)),
        "reranker": str(tiny("BertForSequenceClassification", root / "reranker", num_labels=1)),
    }


@pytest.fixture(scope="module")
def vector(folders):
    with LLM(folders["encoder"]) as llm:
        return llm.embed([""], use_tqdm=False)[0].outputs.array


@pytest.mark.parametrize("path", ["/vllm/v1/embeddings", "/infinity/embeddings", "/jina/v1/embeddings"])
@pytest.mark.parametrize("inputs", ["", ["", "a"]], ids=repr)
def test_their_special_tokens_are_embedded(post, vector, path, inputs):
    embedding = post(path, input=inputs)["data"][0]["embedding"]
    np.testing.assert_allclose(embedding, vector, atol=1e-6)


def test_cohere_embeds_empty_texts(post, vector):
    embeddings = post("/v2/embed", texts=["a", ""], input_type="search_document")["embeddings"]["float"]
    np.testing.assert_allclose(embeddings[1], vector, atol=1e-6)


def test_openai_refuses_them_and_names_another_route(post):
    for inputs, field in (("", "input"), (["a", ""], "input[1]")):
        refused = post("/v1/embeddings", 400, input=inputs)["error"]
        assert refused["message"].startswith(f"{field} cannot be an empty string")
        assert "/vllm/v1/embeddings" in refused["message"]
        assert refused["param"] == "input"


@pytest.mark.parametrize("path", ["/embed", "/tei/embed", "/embed_all"])
@pytest.mark.parametrize("inputs", ["", ["a", ""], [[]]], ids=repr)
def test_tei_refuses_them_as_not_valid(post, path, inputs):
    assert post(path, 422, inputs=inputs) == {"error": "`inputs` cannot be empty", "error_type": "Validation"}


def test_tei_refuses_an_empty_list_with_400(post):
    assert post("/embed", 400, inputs=[]) == {"error": "`inputs` cannot be empty", "error_type": "Empty"}


def test_tei_refuses_a_pair_only_if_both_its_texts_are_empty(post):
    post("/predict", 422, inputs=[["", ""]], model="classifier")
    assert len(post("/predict", inputs=[["", "a"], ["a", ""]], model="classifier")) == 2
    assert len(post("/tei/rerank", query="a", texts=["", "b"], model="reranker")) == 2


def test_classes_and_scores_of_them_are_computed(post):
    assert len(post("/classify", input=["", "a"], model="classifier")["data"]) == 2
    assert len(post("/score", text_1="", text_2=["", "a"], model="reranker")["data"]) == 2
    assert len(post("/rerank", query="", documents=["", "a"], model="reranker")["results"]) == 2
    assert len(post("/pooling", input=[""], task="embed")["data"]) == 1
