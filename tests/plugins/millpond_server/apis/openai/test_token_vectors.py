"""``POST /v1/embeddings`` of models that embed with ``token_embed``: matrices, and the ranges of chunks."""

import base64
import json

import httpx2
import numpy as np
import pytest
from golden_checkpoints import stanford

from millpond import LLM, PoolingParams
from millpond.testing.checkpoints import tiny

TEXTS = ["the old mill by the pond", "a bird"]
TOKEN_EMBED = {"pooler_config": {"task": "token_embed"}}
CHUNKS = {"late_chunking_params": {"chunk_size": 3}}
PATHS = ["/v1/embeddings", "/vllm/v1/embeddings", "/jina/v1/embeddings", "/embeddings", "/infinity/embeddings"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("token_vectors")
    tiny("BertModel", root / "tokens", is_matryoshka=True)
    stanford()(root / "colbert")
    return {"tokens": str(root / "tokens"), "colbert": str(root / "colbert"), "plain": str(root / "tokens")}


@pytest.fixture(scope="module")
def post(folders, application):
    """Post a body to an application that serves the models, the first with the setting."""
    with application(folders, {"tokens": TOKEN_EMBED}) as call:
        yield call


@pytest.fixture(scope="module")
def offline(folders):
    with LLM(folders["tokens"]) as tokens, LLM(folders["colbert"]) as colbert:
        yield {"tokens": tokens, "colbert": colbert}


def expected(llm, texts=TEXTS, **options):
    params = PoolingParams(**options.pop("params", {}))
    outputs = llm.encode(texts, params, pooling_task="token_embed", use_tqdm=False, **options)
    return [output.outputs.array for output in outputs]


def same(items, arrays, **tolerance):
    for item, array in zip(items, arrays, strict=True):
        np.testing.assert_allclose(item["embedding"], array, **{"atol": 1e-6, **tolerance})


@pytest.mark.parametrize("model", ["tokens", "colbert"])
@pytest.mark.parametrize("path", PATHS)
def test_embeddings_are_matrices(post, offline, model, path):
    body = post(path, model=model, input=TEXTS)
    same(body["data"], expected(offline[model]))
    tokens = sum(output.num_prompt_tokens for output in offline[model].encode(TEXTS, pooling_task="token_embed"))
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] == tokens


def test_base64_contains_the_rows_one_after_another(post, offline):
    items = post("/v1/embeddings", model="tokens", input=TEXTS, encoding_format="base64")["data"]
    for item, array in zip(items, expected(offline["tokens"]), strict=True):
        rows = np.frombuffer(base64.b64decode(item["embedding"]), "<f4").reshape(-1, 32)
        np.testing.assert_allclose(rows, array, atol=1e-6)


def test_bytes_state_the_shape_of_each_matrix(post):
    body = {"model": "tokens", "input": TEXTS, "encoding_format": "bytes"}
    answer = post.runner.run(post.client.post("/v1/embeddings", json=body))
    assert [item["shape"] for item in json.loads(answer.headers["metadata"])["data"]] == [[8, 32], [4, 32]]


def test_dimensions_and_types_apply_to_each_token(post, offline):
    body = {"model": "tokens", "input": TEXTS}
    same(post("/v1/embeddings", **body, dimensions=8)["data"], expected(offline["tokens"], params={"dimensions": 8}))
    bits = [np.packbits(array >= 0, axis=-1) for array in expected(offline["tokens"])]
    same(post("/v1/embeddings", **body, embedding_type="ubinary")["data"], bits)


@pytest.mark.parametrize("kind", ["search_query", "query", "passage", "classification", None])
def test_the_input_type_selects_queries_and_documents_of_colbert(post, offline, kind):
    side = {"search_query": "query", "query": "query", "passage": "document"}.get(kind)
    body = post("/v1/embeddings", model="colbert", input=TEXTS, input_type=kind)
    same(body["data"], expected(offline["colbert"], input_type=side))


@pytest.mark.parametrize("path", PATHS[:-1])  # Infinity's truncates all texts, which late chunking refuses
@pytest.mark.parametrize("more", [{}, {"embedding_type": "int8"}, {"encoding_format": "base64"}], ids=str)
def test_late_chunking_params_return_the_ranges_of_the_chunks(post, path, more):
    body = {"model": "tokens", "input": TEXTS, **CHUNKS}
    pooled = post("/pooling", **body, task="token_embed")["data"]
    items = post(path, **body, **more)["data"]
    assert [item["late_chunking"] for item in items] == [item["late_chunking"] for item in pooled]
    assert items[0]["late_chunking"]["chunks"][0] == {"token_range": [0, 3], "char_range": [0, 7]}
    if not more:
        same(items, [item["data"] for item in pooled])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "plain", **CHUNKS}, "Late chunking requires token_embed; the task is 'embed'"),
        ({"model": "tokens", "late_chunking_params": {"chunk_size": 0}}, "must be a positive integer"),
        ({"model": "tokens", "late_chunking_params": {"size": 3}}, "chunk_size"),
        ({"model": "tokens", **CHUNKS, "dimensions": 8}, "Late chunking does not support dimension reduction"),
        ({"model": "tokens", **CHUNKS, "input": [5, 6]}, "Late chunking requires nonempty plain-text input"),
        ({"model": "tokens", **CHUNKS, "late_chunking": True}, "pass one of them"),
        ({"model": "tokens", **CHUNKS, "encoding_format": "bytes"}, "does not return the ranges"),
        ({"model": "colbert", "late_chunking": True}, "embed_chunks"),
    ],
    ids=str,
)
def test_fields_without_meaning_for_a_model_are_refused(post, body, message):
    assert message in post("/v1/embeddings", 400, **{"input": TEXTS, **body})["message"]


@pytest.mark.parametrize(
    ("path", "inputs", "read"),
    [
        ("/v2/embed", {"texts": TEXTS}, lambda answer: answer["embeddings"]["float"]),
        ("/embed", {"inputs": TEXTS}, lambda answer: answer),
        ("/tei/v1/embeddings", {"input": TEXTS}, lambda answer: [item["embedding"] for item in answer["data"]]),
    ],
)
def test_other_apis_return_one_vector_per_text_as_before(post, path, inputs, read):
    setting = np.array(read(post(path, model="tokens", **inputs)))
    np.testing.assert_allclose(setting, read(post(path, model="plain", **inputs)), atol=1e-6)
    assert setting.shape == (2, 32)


@pytest.mark.slow
def test_the_option_of_the_server_selects_token_vectors(folders, serving):
    with serving(folders["tokens"], "--pooler-config", json.dumps(TOKEN_EMBED["pooler_config"])) as running:
        answer = httpx2.post(f"{running.address}/v1/embeddings", json={"input": TEXTS}, timeout=30)
    assert np.shape(answer.json()["data"][0]["embedding"]) == (8, 32)
