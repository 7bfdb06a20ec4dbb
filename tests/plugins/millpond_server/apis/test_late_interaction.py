"""ColBERT and bge-m3 over HTTP: queries and documents, and plugins in vLLM's format."""

import json
import threading

import numpy as np
import pytest
from safetensors.torch import load_file

from millpond import LLM
from millpond.testing.checkpoints import random_tensors, tiny, write_config, write_weights
from millpond_models.testing.bge_m3 import tiny_bge_m3

QUERY, DOCUMENTS = "where is the mill?", ["the old mill.", "snow on the hill, and rain"]
DIM = 12
MATCHED = "_matches"  # compares all tokens of two texts


def colbert(folder):
    tiny("BertModel", folder, prefix="bert.")
    config = json.loads((folder / "config.json").read_text())
    write_config(folder, config | {"architectures": ["HF_ColBERT"], "dim": DIM})
    projection = random_tensors({"linear.weight": (DIM, 32)}, seed=3)
    write_weights(folder, load_file(folder / "model.safetensors") | projection)
    tokens = folder / "tokenizer.json"
    tokens.write_text(tokens.read_text().replace('"##8"', '"[unused0]"').replace('"##9"', '"[unused1]"'))
    (folder / "artifact.metadata").write_text(json.dumps({"query_maxlen": 16}))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("late")
    return {"colbert": str(colbert(root / "colbert")), "m3": str(tiny_bge_m3(root / "m3"))}


PLUGINS = {"colbert": "colbert_query_plugin", "m3": "bge_m3_sparse_plugin"}


@pytest.fixture(scope="module")
def post(folders, application):
    """Post a body to an application that serves both models with their plugins."""
    with application(folders, {name: {"io_processor_plugin": plugin} for name, plugin in PLUGINS.items()}) as call:
        yield call


@pytest.fixture(scope="module")
def offline(folders):
    with LLM(folders["colbert"]) as colbert, LLM(folders["m3"]) as m3:
        yield {"colbert": colbert, "m3": m3}


def vectors(llm, texts, **options):
    return [output.outputs.array for output in llm.encode(texts, pooling_task="token_embed", use_tqdm=False, **options)]


@pytest.mark.parametrize(
    ("fields", "side"),
    [
        ({"input_type": "query"}, "query"),
        ({"input_type": "search_query"}, "query"),
        ({"is_query": True}, "query"),
        ({"input_type": "passage", "is_query": False}, "document"),
        ({"input_type": "classification"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_pooling_uses_the_requested_input_type(post, offline, fields, side):
    body = post("/pooling", model="colbert", input=DOCUMENTS, **fields)
    for item, expected in zip(body["data"], vectors(offline["colbert"], DOCUMENTS, input_type=side), strict=True):
        np.testing.assert_allclose(item["data"], expected, atol=1e-6)
    body = post("/v1/represent", model="colbert", input=DOCUMENTS, representations=[{"task": "token_embed"}], **fields)
    for item, other in zip(vectors(offline["colbert"], DOCUMENTS, input_type=side), body["data"], strict=True):
        np.testing.assert_allclose(other["representations"][0]["embeddings"]["float"], item, atol=1e-6)


def test_disagreeing_fields_are_refused_by_models_that_use_them(post, offline):
    refused = post("/pooling", 400, model="colbert", input="a", input_type="query", is_query=False)
    assert "disagree: pass one of them" in refused["error"]["message"]
    (item,) = post("/pooling", model="m3", input="a", task="token_embed", input_type="query")["data"]
    np.testing.assert_allclose(item["data"], vectors(offline["m3"], "a")[0], atol=1e-6)


def test_vectors_become_fewer_on_request(post, offline):
    (item,) = post("/pooling", model="colbert", input=DOCUMENTS[1], is_query=False, pool_factor=2)["data"]
    (whole,) = vectors(offline["colbert"], DOCUMENTS[1], is_query=False)
    assert np.shape(item["data"]) == (1 + (len(whole) - 1) // 2, DIM)
    post("/pooling", 400, model="colbert", input="a", pool_factor=0.5)


def test_merged_vectors_have_no_token(tmp_path, application):
    folder = tiny("BertModel", tmp_path)
    kinds = ["base.modules.transformer.Transformer", "base.modules.normalize.Normalize"]
    kinds.append("multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling")
    lines = [
        {"idx": index, "name": str(index), "path": str(index) * bool(index), "type": f"sentence_transformers.{kind}"}
        for index, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(lines))
    for index, fields in (
        (1, {"module_input_name": "token_embeddings"}),
        (2, {"pool_factor": 2, "num_protected_tokens": 0}),
    ):
        (folder / str(index)).mkdir()
        (folder / str(index) / "config.json").write_text(json.dumps(fields))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "MultiVectorEncoder"}))
    with application({"pooled": str(folder)}) as post:
        (item,) = post("/explain", query=QUERY, documents=DOCUMENTS[:1])["data"]
        (ranked,) = post("/rerank", query=QUERY, documents=DOCUMENTS[:1])["results"]
    assert item["score"] == pytest.approx(ranked["relevance_score"], rel=1e-5)
    assert {(match["document_index"], match["document_token"]) for match in item["matches"]} == {(None, None)}
    assert all(match["query_token"] for match in item["matches"])


@pytest.mark.parametrize("model", ["colbert", "m3"])
def test_rerank_and_explain_agree_with_score(post, offline, model):
    scores = [output.outputs.score for output in offline[model].score(QUERY, DOCUMENTS, use_tqdm=False)]
    body = post("/rerank", model=model, query=QUERY, documents=DOCUMENTS)
    scores_by_index = {result["index"]: result["relevance_score"] for result in body["results"]}
    assert [scores_by_index[0], scores_by_index[1]] == pytest.approx(scores, abs=1e-5)
    items = post("/explain", model=model, query=QUERY, documents=DOCUMENTS)["data"]
    for item, document in zip(items, DOCUMENTS, strict=True):
        assert sum(match["similarity"] for match in item["matches"]) == pytest.approx(item["score"], abs=1e-4)
        sides = (None, None) if model == "m3" else ("query", "document")
        query = vectors(offline[model], QUERY, input_type=sides[0])[0]
        rows = vectors(offline[model], document, input_type=sides[1])[0]
        assert item["score"] == pytest.approx(float((query @ rows.T).max(axis=1).sum()), abs=1e-4)
        assert len(item["matches"]) == len(query)
        named = {match["document_index"]: match["document_token"] for match in item["matches"]}
        (output,) = offline[model].encode(document, pooling_task="token_embed", input_type=sides[1], use_tqdm=False)
        spelled = offline[model].get_tokenizer().convert_ids_to_tokens(output.prompt_token_ids)
        assert all(spelled[index] == token for index, token in named.items())
        assert all(len(products) == len(query) for products in [item["matches"]])
    if model == "colbert":
        assert {match["query_token"] for match in items[0]["matches"]} >= {"[CLS]", "[unused0]", "[MASK]"}
        assert not {match["document_token"] for item in items for match in item["matches"]} & {".", ","}
    else:
        assert items[0]["terms"]
        assert not {match["document_token"] for item in items for match in item["matches"]} & {"<s>"}


def test_explain_returns_the_similarities_of_all_tokens(post, offline):
    items = post("/explain", model="colbert", query=QUERY, documents=DOCUMENTS, return_similarities=True)["data"]
    query = vectors(offline["colbert"], QUERY, input_type="query")[0]
    for item, document in zip(items, DOCUMENTS, strict=True):
        rows = vectors(offline["colbert"], document, input_type="document")[0]
        np.testing.assert_allclose(item["similarities"], query @ rows.T, atol=1e-5)
        assert item["query_tokens"] == [match["query_token"] for match in item["matches"]]
        best = np.argmax(item["similarities"], axis=1)
        assert [item["document_tokens"][index] for index in best] == [m["document_token"] for m in item["matches"]]
        assert len(item["document_tokens"]) == len(rows)
    assert "similarities" not in post("/explain", model="colbert", query=QUERY, documents=DOCUMENTS)["data"][0]


def test_m3_returns_all_three_results_at_once(post, offline):
    wanted = [{"task": "embed"}, {"task": "embed_sparse"}, {"task": "token_embed"}]
    (item,) = post("/v1/represent", model="m3", input=[QUERY], representations=wanted)["data"]
    dense, sparse, tokens = item["representations"]
    llm = offline["m3"]
    np.testing.assert_allclose(dense["embeddings"]["float"], llm.embed(QUERY)[0].outputs.array, atol=1e-6)
    expected = llm.embed_sparse(QUERY)[0].outputs
    assert sparse["embeddings"]["sparse"]["indices"] == expected.indices.tolist()
    np.testing.assert_allclose(tokens["embeddings"]["float"], vectors(llm, QUERY)[0], atol=1e-6)
    (pairs,) = post("/embed_sparse", model="m3", inputs=QUERY)
    assert [pair["index"] for pair in pairs] == expected.indices.tolist()


def test_plugins_take_their_data(post, offline):
    answer = post("/pooling", model="m3", data={"input": DOCUMENTS, "return_tokens": True})
    assert answer["request_id"].startswith("pooling-")
    for item, expected in zip(answer["data"]["data"], offline["m3"].embed_sparse(DOCUMENTS), strict=True):
        assert [term["token_id"] for term in item["sparse_embedding"]] == expected.outputs.indices.tolist()
    answer = post("/pooling", model="colbert", data={"input": QUERY, "input_type": "query"}, task="plugin")
    np.testing.assert_allclose(
        answer["data"]["data"][0]["embedding"], vectors(offline["colbert"], QUERY, is_query=True)[0], atol=1e-6
    )
    refused = post("/pooling", 400, model="colbert", data={"input": QUERY, "input_type": "passage"})
    assert "input_type must be 'query' or 'document'" in refused["error"]["message"]


def test_matches_are_computed_outside_the_event_loop(post, monkeypatch):
    """Matches of two texts with 8192 tokens take a second, which would block the event loop."""
    from millpond_server.apis.millpond import explain

    threads, matched = [], getattr(explain, MATCHED)

    def noted(*arguments):
        threads.append(threading.current_thread())
        return matched(*arguments)

    monkeypatch.setattr(explain, MATCHED, noted)
    assert len(post("/explain", model="colbert", query=QUERY, documents=DOCUMENTS)["data"]) == 2
    assert len(threads) == 2
    assert threading.current_thread() not in threads
