"""Infinity's routes, like its own end-to-end tests: capabilities, images, token vectors, long texts, statuses."""

import base64
import json

import numpy as np
import pytest
from safetensors.torch import load_file

from millpond import LLM, PoolingParams
from millpond.testing.checkpoints import (
    random_tensors,
    tiny,
    write_config,
    write_sentence_transformers,
    write_weights,
)
from millpond.testing.pictures import picture, url_of
from millpond_models.testing.dual_encoders import tiny_dual_encoder

TEXTS = ["the old mill", "snow on the hill", "a bird"]
PICTURE = picture(40, 30)
URL = url_of(PICTURE)
BASE64 = URL.partition(",")[2]


def colbert(folder):
    tiny("BertModel", folder, prefix="bert.")
    config = json.loads((folder / "config.json").read_text())
    write_config(folder, config | {"architectures": ["HF_ColBERT"], "dim": 12})
    projection = random_tensors({"linear.weight": (12, 32)}, seed=3)
    write_weights(folder, load_file(folder / "model.safetensors") | projection)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("infinity")
    encoder = tiny("BertModel", root / "encoder")
    write_sentence_transformers(encoder, pooling="mean")
    return {
        "encoder": str(encoder),
        "clip": str(tiny_dual_encoder("CLIPModel", root / "clip")),
        "late": str(colbert(root / "late")),
        "classifier": str(tiny("BertForSequenceClassification", root / "classifier", num_labels=3)),
        "reranker": str(tiny("BertForSequenceClassification", root / "reranker", num_labels=1)),
    }


@pytest.fixture(scope="module")
def of_images(folders):
    with LLM(folders["clip"], num_workers=1) as llm:
        outputs = llm.embed(["water", {"multi_modal_data": {"image": PICTURE}}], use_tqdm=False)
    return [output.outputs.array for output in outputs]


def vectors_of(answer):
    return [item["embedding"] for item in answer["data"]]


def test_models_list_their_capabilities(post):
    cards = {card["id"]: card for card in post("/infinity/models")["data"]}
    assert {name: set(card["capabilities"]) for name, card in cards.items()} == {
        "encoder": {"embed"},
        "clip": {"embed", "image_embed"},
        "late": {"embed"},
        "classifier": {"classify"},
        "reranker": {"rerank"},
    }
    assert all(isinstance(card["stats"], dict) and card["backend"] == "torch" for card in cards.values())
    assert {card["owned_by"] for card in cards.values()} == {"infinity"}
    assert post("/models")["data"][0]["capabilities"] == ["embed"]


def test_health_returns_the_time(post):
    assert post("/infinity/health")["unix"] > 1.7e9


@pytest.mark.parametrize(
    "image", [URL, BASE64, f"DATA:Image/PNG;Base64,{BASE64}"], ids=["data URL", "base64", "data URL in capitals"]
)
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/infinity/embeddings", {"modality": "image"}),
        ("/infinity/embeddings_image", {}),
        ("/embeddings", {"modality": "image"}),
        ("/embeddings_image", {}),
        ("/v1/embeddings", {"modality": "image"}),
    ],
    ids=str,
)
def test_images_are_embedded_as_images(post, of_images, path, fields, image):
    for images in (image, [image]):
        (vector,) = vectors_of(post(path, input=images, model="clip", **fields))
        np.testing.assert_allclose(vector, of_images[1], atol=1e-6)


def test_text_is_text_also_for_a_model_that_sees(post, of_images):
    for fields in ({}, {"modality": "text"}):
        (vector,) = vectors_of(post("/infinity/embeddings", input="water", model="clip", **fields))
        np.testing.assert_allclose(vector, of_images[0], atol=1e-6)


def test_images_that_cannot_be_read_are_refused_with_their_statuses(post):
    for images in ("htt://wrong.url/me.jpg", ["htt://wrong.url/me.jpg"], []):
        assert post("/infinity/embeddings_image", 422, input=images, model="clip")["error"]["code"]
        post("/embeddings_image", 400, input=images, model="clip")
    post("/infinity/embeddings_image", 400, input="https://www.example.test/404.jpg", model="clip")
    post("/infinity/embeddings_image", 400, input=base64.b64encode(b"no image").decode(), model="clip")


def test_a_model_with_only_token_vectors_returns_them(post, folders):
    with LLM(folders["late"]) as llm:
        outputs = llm.encode(["the mill", "a"], pooling_task="token_embed", use_tqdm=False)
        assert "embed" not in llm.supported_tasks
    vector = vectors_of(post("/infinity/embeddings", input=["the mill", "a"], model="late"))
    for rows, output in zip(vector, outputs, strict=True):
        np.testing.assert_allclose(rows, output.outputs.array, atol=1e-6)


@pytest.mark.parametrize("model", ["encoder", "late"])
def test_dimensions_cut_the_vectors_without_normalizing_them_again(post, model):
    whole = [np.array(vector) for vector in vectors_of(post("/infinity/embeddings", input=["the mill"], model=model))]
    cut = vectors_of(post("/infinity/embeddings", input=["the mill"], model=model, dimensions=4))
    np.testing.assert_allclose(np.array(cut[0]), whole[0][..., :4], atol=1e-6)
    assert np.all(np.linalg.norm(cut[0], axis=-1) < 0.999)
    encoded = post("/infinity/embeddings", input="the mill", model=model, dimensions=4, encoding_format="base64")
    (values,) = (np.frombuffer(base64.b64decode(text), np.float32) for text in vectors_of(encoded))
    np.testing.assert_allclose(values, np.ravel(cut[0]), atol=1e-6)
    refused = post("/infinity/embeddings", 400, input="a", model=model, dimensions=99)
    assert "`dimensions` must be from 1 to" in refused["message"]


def test_texts_over_the_maximum_are_cut_and_far_too_long_ones_refused(post):
    (vector,) = vectors_of(post("/infinity/embeddings", input="mill " * 200))
    (cut,) = vectors_of(post("/infinity/embeddings", input="mill " * 62))
    np.testing.assert_allclose(vector, cut, atol=1e-6)
    assert post("/infinity/classify", input="mill " * 200, model="classifier")["usage"]["prompt_tokens"] == 64
    assert len(post("/infinity/rerank", query="a", documents=["mill " * 200], model="reranker")["results"]) == 1
    post("/infinity/embeddings", input="%_" * 4096 * 15)
    post("/infinity/embeddings", 422, input="%_" * 4097 * 15)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/embeddings", {"input": []}, 422),
        ("/embeddings", {"input": 3.5}, 422),
        ("/embeddings", {}, 422),
        ("/embeddings", {"input": ["a"] * 2049}, 413),
        ("/embeddings", {"input": "a", "dimensions": -1}, 422),
        ("/embeddings", {"input": "a", "model": "unknown"}, 400),
        ("/embeddings", {"input": "a", "model": "classifier"}, 400),
        ("/embeddings", {"input": "a", "model": "reranker"}, 400),
        ("/embeddings", {"input": URL, "modality": "image", "model": "encoder"}, 400),
        ("/embeddings", {"input": URL, "modality": "audio", "model": "clip"}, 400),
        ("/embeddings_audio", {"input": URL, "model": "clip"}, 400),
        ("/embeddings_audio", {"input": [], "model": "clip"}, 422),
        ("/classify", {"input": ["a"], "model": "clip"}, 400),
        ("/classify", {"input": ["a"], "model": "reranker"}, 400),
        ("/classify", {"input": [], "model": "classifier"}, 422),
        ("/rerank", {"query": "a", "documents": ["b"], "model": "classifier"}, 400),
        ("/rerank", {"query": "a", "documents": [], "model": "reranker"}, 422),
        ("/rerank", {"query": "a", "documents": ["b"], "top_n": 0, "model": "reranker"}, 422),
        ("/rerank", {"query": "a", "documents": ["b"], "top_n": -1, "model": "reranker"}, 422),
    ],
    ids=str,
)
def test_errors_have_the_statuses_of_infinity(post, path, body, status):
    refused = post(f"/infinity{path}", status, **{"model": "encoder", **body})
    assert refused["error"]["message"] == refused["detail"]


def test_numbers_are_those_of_the_model(post, folders):
    with LLM(folders["encoder"]) as llm:
        whole = np.stack([output.outputs.array for output in llm.embed(TEXTS, use_tqdm=False)])
    vector = post("/infinity/embeddings", input=TEXTS, dimensions=0)
    np.testing.assert_allclose(vectors_of(vector), whole, atol=1e-6)
    assert vector["id"].startswith("infinity-")
    coded = vectors_of(post("/infinity/embeddings", input=TEXTS, encoding_format="base64"))
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(coded[0]), "<f4"), whole[0], atol=1e-6)
    with LLM(folders["reranker"]) as llm:
        params = PoolingParams(use_activation=False)
        scores = [out.outputs.score for out in llm.score("a mill", TEXTS, pooling_params=params, use_tqdm=False)]
    ranks = post("/infinity/rerank", query="a mill", documents=TEXTS, model="reranker", raw_scores=True, top_n=8000)
    assert {one["index"]: pytest.approx(one["relevance_score"], abs=1e-5) for one in ranks["results"]} == dict(
        enumerate(scores)
    )
