"""Tests of Ollama's routes, with the Python client of Ollama."""

import asyncio
import math
from datetime import datetime

import httpx
import numpy as np
import pytest
from ollama import AsyncClient, Client, ResponseError

from millpond import LLM, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import RecordConformance
from millpond_server.testing import running_server

TEXTS = ["a cup of tea", "the old mill by the river"]
LONG_TEXT = "mill " * 500
HIDDEN_SIZE = 32


class TestEmbedRoute(RecordConformance):
    """The requirements of the record."""

    kind, name = "route", "POST /api/embed"


class TestEmbeddingsRoute(RecordConformance):
    """The requirements of the record."""

    kind, name = "route", "POST /api/embeddings"


class TestRerankRoute(RecordConformance):
    """The requirements of the record."""

    kind, name = "route", "POST /api/rerank"


class TestTagsRoute(RecordConformance):
    """The requirements of the record."""

    kind, name = "route", "GET /api/tags"


class TestShowRoute(RecordConformance):
    """The requirements of the record."""

    kind, name = "route", "POST /api/show"


class TestVersionRoute(RecordConformance):
    """The requirements of the record."""

    kind, name = "route", "GET /api/version"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny embedding model."""
    return tiny("BertModel", tmp_path_factory.mktemp("models") / "minilm")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    """A tiny cross-encoder."""
    return tiny("BertForSequenceClassification", tmp_path_factory.mktemp("models") / "ranker", num_labels=1)


@pytest.fixture(scope="module")
def url(folder, reranker):
    """The URL of a server with both models."""
    with running_server(folder, reranker, routes=["ollama"]) as server:
        yield server.url


@pytest.fixture(scope="module")
def client(url):
    """Ollama's client."""
    with Client(host=url) as client:
        yield client


@pytest.fixture(scope="module")
def vectors(folder):
    """The vectors of the texts, not normalized, [num_texts, hidden_size]."""
    with LLM(str(folder)) as llm:
        return llm.embed(TEXTS, output="array", pooling_params=PoolingParams(use_activation=False))


def normalized(rows):
    """Return rows divided by their length."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


# --- embeddings -------------------------------------------------------------------------------------------------------


def test_embed_returns_a_normalized_vector_per_text(client, vectors):
    """Compare with vectors from LLM."""
    response = client.embed(model="minilm", input=TEXTS)
    np.testing.assert_allclose(response.embeddings, normalized(vectors), atol=1e-5)
    assert response.model == "minilm"
    assert response.prompt_eval_count > len(TEXTS)
    assert 0 <= response.load_duration < response.total_duration


def test_embed_of_a_single_text_returns_a_list(client, vectors):
    """A text that is not in a list is one text."""
    response = client.embed(model="minilm", input=TEXTS[0], keep_alive="5m")
    np.testing.assert_allclose(response.embeddings, normalized(vectors[:1]), atol=1e-5)


def test_embed_of_nothing_returns_no_vectors(client):
    """An empty text or list is not an error."""
    assert client.embed(model="minilm", input="").embeddings == []
    assert client.embed(model="minilm", input=[]).embeddings == []


def test_dimensions_truncate_and_normalize(client, vectors):
    """More dimensions than the vectors have are ignored."""
    truncated = client.embed(model="minilm", input=TEXTS, dimensions=8).embeddings
    np.testing.assert_allclose(truncated, normalized(vectors[:, :8]), atol=1e-5)
    whole = client.embed(model="minilm", input=TEXTS, dimensions=10 * HIDDEN_SIZE).embeddings
    assert np.shape(whole) == (len(TEXTS), HIDDEN_SIZE)


def test_long_texts_are_truncated(client):
    """``options.num_ctx`` may be smaller than the maximum of the model."""
    longest = client.embed(model="minilm", input=LONG_TEXT).prompt_eval_count
    assert client.embed(model="minilm", input=LONG_TEXT, options={"num_ctx": 10**6}).prompt_eval_count == longest
    assert client.embed(model="minilm", input=LONG_TEXT, options={"num_ctx": 7}).prompt_eval_count == 7 < longest


def test_long_texts_are_refused_without_truncation(client):
    """The error is that of Millpond, with the number of tokens."""
    with pytest.raises(ResponseError, match="maximum") as caught:
        client.embed(model="minilm", input=LONG_TEXT, truncate=False)
    assert caught.value.status_code == 400


def test_embeddings_returns_the_vector_before_normalization(client, vectors):
    """The former route takes one text."""
    response = client.embeddings(model="minilm", prompt=TEXTS[1])
    np.testing.assert_allclose(response.embedding, vectors[1], atol=1e-5)
    assert client.embeddings(model="minilm", prompt="").embedding == []


def test_the_async_client_works(url, vectors):
    """Concurrent requests have the vectors of their texts."""

    async def embed_each():
        async with AsyncClient(host=url) as client:
            return await asyncio.gather(*(client.embed(model="minilm", input=text) for text in TEXTS))

    rows = [response.embeddings[0] for response in asyncio.run(embed_each())]
    np.testing.assert_allclose(rows, normalized(vectors), atol=1e-5)


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["minilm", "minilm:latest", "MiniLM", "MINILM:Latest"])
def test_the_default_tag_is_optional(client, name):
    """Upper and lower case are equal, and the response contains the name of the request."""
    assert client.embed(model=name, input="tea").model == name


@pytest.mark.parametrize("name", ["nomic-embed-text", "minilm:22m", "library/minilm", "localhost:11434/minilm"])
def test_an_unknown_model_is_answered_with_404(client, name):
    """The message contains the available models."""
    for call in (client.embed, client.embeddings, client.show):
        with pytest.raises(ResponseError) as caught:
            call(model=name)
        assert caught.value.status_code == 404
        assert caught.value.error == f"model {name!r} not found. Available: minilm:latest, ranker:latest"


def test_list_describes_the_models(client):
    """The default tag is part of the name."""
    first, second = client.list().models
    assert (first.model, second.model) == ("minilm:latest", "ranker:latest")
    assert first.digest != second.digest
    assert isinstance(first.modified_at, datetime)
    assert first.modified_at.tzinfo is not None
    assert (first.details.family, first.details.format, first.details.quantization_level) == (
        "bert",
        "safetensors",
        "F32",
    )


def test_show_describes_a_model(client, folder):
    """The number of parameters agrees with the size of the file."""
    response = client.show("minilm:latest")
    info = response.modelinfo
    assert info["general.architecture"] == "bert"
    assert info["bert.embedding_length"] == HIDDEN_SIZE
    assert info["bert.block_count"] > 0
    assert response.parameters == f"num_ctx {info['bert.context_length']}"
    assert "embedding" in response.capabilities
    weights = folder.joinpath("model.safetensors").stat().st_size
    assert math.isclose(info["general.parameter_count"] * 4, weights, rel_tol=0.1)
    assert client.list().models[0].size == weights


def test_show_accepts_the_former_field(url):
    """Old clients send ``name``."""
    assert httpx.post(f"{url}/api/show", json={"name": "minilm"}).json()["details"]["family"] == "bert"


def test_version_is_that_of_ollama(url):
    """Clients compare three numbers."""
    assert len(httpx.get(f"{url}/api/version").json()["version"].split(".")) == 3


# --- ranking ----------------------------------------------------------------------------------------------------------


def test_rerank_sorts_documents_by_their_scores(url, reranker):
    """Compare with scores from LLM."""
    documents = ["the old mill", "snow", "a wheel turns in the river"]
    with LLM(str(reranker)) as llm:
        scores = [output.outputs.score for output in llm.score("mill", documents)]
    body = {"model": "ranker", "query": "mill", "documents": documents}
    results = httpx.post(f"{url}/api/rerank", json=body).json()["results"]
    assert [result["index"] for result in results] == sorted(range(3), key=lambda index: -scores[index])
    for result in results:
        assert result["document"] == documents[result["index"]]
        assert result["relevance_score"] == pytest.approx(scores[result["index"]], abs=1e-5)
    assert httpx.post(f"{url}/api/rerank", json={**body, "top_n": 2}).json()["results"] == results[:2]


def test_rerank_of_no_documents_returns_no_results(url):
    """An empty list is not an error."""
    body = {"model": "ranker", "query": "mill", "documents": []}
    assert httpx.post(f"{url}/api/rerank", json=body).json()["results"] == []


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"input": "tea"}', "model is required"),
        (b'{"model": "minilm", "input": 5}', "input"),
        (b'{"model": "minilm", "input": ["tea", 5]}', "input"),
        (b'{"model": "minilm", "options": {"num_ctx": 0}}', "num_ctx"),
        (b'{"model": "ranker", "input": "tea"}', "embed"),
        (b"not JSON", "not valid JSON"),
    ],
)
def test_invalid_requests_are_answered_with_400(url, body, message):
    """The body has Ollama's format."""
    response = httpx.post(f"{url}/api/embed", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert message in response.json()["error"]


def test_limits_of_the_server_apply(folder):
    """A request with too many texts is refused, and one without the key."""
    settings = {"limits": {"inputs": 2}}
    with running_server(folder, routes=["ollama"], api_keys=["secret"], settings=settings) as server:
        with Client(host=server.url) as client, pytest.raises(ResponseError) as caught:
            client.list()
        assert caught.value.status_code == 401
        key = {"authorization": "Bearer secret"}
        with (
            Client(host=server.url, headers=key) as client,
            pytest.raises(ResponseError, match="limited to 2") as caught,
        ):
            client.embed(model="minilm", input=["tea"] * 3)
        assert caught.value.status_code == 413


def test_fields_without_effect_are_listed(url):
    """The server names them in a header."""
    response = httpx.post(f"{url}/api/embed", json={"model": "minilm", "input": "tea", "keep_alive": "5m"})
    assert response.headers["x-millpond-ignored"] == "keep_alive"
