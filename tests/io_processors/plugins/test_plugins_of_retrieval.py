"""``bge_m3_sparse_plugin`` and ``colbert_query_plugin``: the numbers of ``LLM`` in the form of vLLM's plugins."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from millpond import InvalidInputError
from millpond.testing.checkpoints import random_tensors, tiny, write_config, write_weights
from millpond_models.testing.bge_m3 import tiny_bge_m3

TEXTS = ["the cat sat on the mill", "the old mill, the old river"]
DIM = 12


@pytest.fixture
def m3(tmp_path, load):
    return load(tiny_bge_m3(tmp_path / "m3"), io_processor_plugin="bge_m3_sparse_plugin")


def colbert(folder, **metadata):
    """Like jinaai/jina-colbert-v2: markers are tokens, and queries are expanded with the mask token."""
    tiny("BertModel", folder, prefix="bert.")
    config = json.loads((folder / "config.json").read_text())
    write_config(folder, config | {"architectures": ["HF_ColBERT"], "dim": DIM})
    projection = random_tensors({"linear.weight": (DIM, 32)}, seed=3)
    write_weights(folder, load_file(folder / "model.safetensors") | projection)
    tokens = folder / "tokenizer.json"
    tokens.write_text(tokens.read_text().replace('"##8"', '"[QueryMarker]"').replace('"##9"', '"[DocumentMarker]"'))
    markers = {"query_token_id": "[QueryMarker]", "doc_token_id": "[DocumentMarker]", "query_maxlen": 16}
    (folder / "artifact.metadata").write_text(json.dumps(markers | metadata))
    return folder


def ask(llm, **data):
    (output,) = llm.encode({"data": data}, pooling_task="plugin", use_tqdm=False)
    assert output.prompt_token_ids == []
    return output.outputs


def test_dense_and_sparse_are_returned_unless_one_is_requested(m3):
    dense = [output.outputs.array for output in m3.embed(TEXTS, use_tqdm=False)]
    sparse = [output.outputs for output in m3.embed_sparse(TEXTS, use_tqdm=False)]
    response = ask(m3, input=TEXTS)
    assert response["usage"]["prompt_tokens"] == sum(o.num_prompt_tokens for o in m3.embed(TEXTS, use_tqdm=False))
    for index, item in enumerate(response["data"]):
        assert (item["index"], item["object"]) == (index, "dense&sparse")
        np.testing.assert_allclose(item["dense_embedding"], dense[index], atol=1e-6)
        terms = item["sparse_embedding"]
        assert [term["token_id"] for term in terms] == sparse[index].indices.tolist()
        np.testing.assert_allclose([term["weight"] for term in terms], sparse[index].values, rtol=1e-5, atol=1e-5)
        assert {term["token"] for term in terms} == {None}
    (item,) = ask(m3, input=TEXTS[0], embed_task="dense")["data"]
    assert item["sparse_embedding"] is None
    np.testing.assert_allclose(item["dense_embedding"], dense[0], atol=1e-6)
    (item,) = ask(m3, input=TEXTS[0], embed_task="sparse")["data"]
    assert item["dense_embedding"] is None
    assert [term["token_id"] for term in item["sparse_embedding"]] == sparse[0].indices.tolist()


def test_tokens_and_other_options(m3):
    (item,) = ask(m3, input=TEXTS[0], embed_task="sparse", return_tokens=True)["data"]
    tokens = [term["token"] for term in item["sparse_embedding"]]
    expected = m3.embed_sparse(TEXTS[0], return_tokens=True)[0].outputs.tokens
    assert tokens == [token.replace("\u2581", " ") for token in expected]
    (bare,) = ask(m3, input="a mill", add_special_tokens=False, use_activation=False, return_tokens=None)["data"]
    (expected,) = m3.represent(
        [{"prompt": "a mill", "add_special_tokens": False}],
        [{"task": "embed", "use_activation": False}, {"task": "embed_sparse", "use_activation": False}],
    )
    np.testing.assert_allclose(bare["dense_embedding"], expected.outputs.results[0].array, atol=1e-6)
    assert len(bare["sparse_embedding"]) == expected.outputs.results[1].num_terms


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "input must be a text or a list of texts"),
        ({"input": []}, "input must be a text or a list of texts"),
        ({"input": ["a", 3]}, "input must be a text or a list of texts"),
        ({"input": "a", "embed_task": "colbert"}, "embed_task must be 'dense', 'sparse' or 'dense&sparse'"),
        ({"input": "a", "return_tokens": "yes"}, "return_tokens must be true or false; got 'yes'"),
        ({"input": "a", "dimensions": 12}, "does not support matryoshka"),
        ({"input": "a", "inputs": "a"}, "data: unknown field 'inputs'. Available: input, embed_task"),
        ({"input": ["a", "mill " * 100]}, "data: input 1: This model's maximum context length"),
    ],
    ids=str,
)
def test_unsupported_requests_are_refused(m3, data, message):
    with pytest.raises(InvalidInputError, match=message):
        ask(m3, **data)


@pytest.mark.parametrize("kind", ["query", "document"])
def test_colbert_reads_queries_and_documents_as_the_checkpoint_states(tmp_path, load, kind):
    llm = load(colbert(tmp_path / "model", mask_punctuation=False), io_processor_plugin="colbert_query_plugin")
    response = ask(llm, input=TEXTS, input_type=kind)
    outputs = llm.encode(TEXTS, pooling_task="token_embed", input_type=kind, use_tqdm=False)
    for index, (item, output) in enumerate(zip(response["data"], outputs, strict=True)):
        assert (item["index"], item["input_type"]) == (index, kind)
        np.testing.assert_allclose(item["embedding"], output.outputs.array, atol=1e-6)
    ids = outputs[0].prompt_token_ids
    spelled = llm.get_tokenizer().convert_ids_to_tokens(ids)
    assert spelled[:2] == ["[CLS]", "[QueryMarker]" if kind == "query" else "[DocumentMarker]"]
    assert (spelled.count("[MASK]") > 0, len(ids) == 16) == ((True, True) if kind == "query" else (False, False))
    assert response["usage"]["prompt_tokens"] == sum(output.num_prompt_tokens for output in outputs)


def test_a_query_that_is_too_long_is_cut(tmp_path, load):
    llm = load(colbert(tmp_path / "model"), io_processor_plugin="colbert_query_plugin")
    (item,) = ask(llm, input="mill " * 40, input_type="query")["data"]
    assert (item["input_type"], np.shape(item["embedding"])) == ("query", (16, DIM))
    with pytest.raises(InvalidInputError, match="input_type must be 'query' or 'document'; got 'passage'"):
        ask(llm, input="a", input_type="passage")
    with pytest.raises(InvalidInputError, match="input_type must be 'query' or 'document'; got None"):
        ask(llm, input="a")


def test_outputs_are_read_by_attributes_too(m3):
    response = ask(m3, input=TEXTS, return_tokens=True)
    assert [item.index for item in response.data] == [0, 1]
    (first, _) = response.data
    assert first.sparse_embedding[0].token_id == first["sparse_embedding"][0]["token_id"]
    assert (len(first.dense_embedding), first.object) == (32, "dense&sparse")
    assert response.usage.prompt_tokens == response.usage.total_tokens > response.usage.completion_tokens == 0
    with pytest.raises(AttributeError, match=r"Unknown field 'colbert'\. Available: data, usage"):
        _ = response.colbert


def test_token_ids_are_read_as_texts_are(m3):
    ids = [output.prompt_token_ids for output in m3.embed(TEXTS, use_tqdm=False)]
    assert ask(m3, input=ids) == ask(m3, input=TEXTS)
    assert ask(m3, input=ids[0])["data"] == ask(m3, input=TEXTS[0])["data"]


@pytest.mark.parametrize("kind", ["query", "document"])
def test_colbert_puts_special_tokens_and_markers_around_token_ids(tmp_path, load, kind):
    llm = load(colbert(tmp_path / "model", mask_punctuation=False), io_processor_plugin="colbert_query_plugin")
    ids = llm.get_tokenizer()(TEXTS, add_special_tokens=False)["input_ids"]
    assert ask(llm, input=ids, input_type=kind) == ask(llm, input=TEXTS, input_type=kind)
    (item,) = ask(llm, input=[*ids[0]] * 9, input_type=kind)["data"]
    (text,) = ask(llm, input=" ".join([TEXTS[0]] * 9), input_type=kind)["data"]
    assert (item.object, item.input_type) == ("embedding", kind)
    np.testing.assert_allclose(item.embedding, text.embedding, atol=1e-6)
    with pytest.raises(InvalidInputError, match="add_special_tokens=false is not supported"):
        ask(llm, input="a", input_type=kind, add_special_tokens=False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bge_m3_sparse_plugin", "has no sparse embeddings"),
        ("colbert_query_plugin", "requires a model with token vectors"),
    ],
)
def test_another_model_is_not_served(tmp_path, load, name, message):
    llm = load(tiny("BertModel", tmp_path), io_processor_plugin=name)
    assert "plugin" not in llm.supported_tasks
    with pytest.raises(InvalidInputError, match=message):
        ask(llm, input="a")
