"""Queries embedded without the model, as sentence-transformers' Router and SparseStaticEmbedding have it."""

import asyncio
import json
from shutil import copytree

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from millpond import AsyncLLM, CheckpointError, InvalidInputError
from millpond.loading.arguments import read_arguments
from millpond.plugin.manager import get_plugin_manager
from millpond.testing.checkpoints import tiny, vocabulary
from millpond_cli.inspect.resolved import model_file

QUERIES = ["the old mill", "the the cat, and zyzzyva!", "a"]
DOCUMENTS = ["the cat sat on the mill", "rain, snow and wind over the river", "a"]
SIZE = len(vocabulary("bert"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory, sentence_transformers):
    """A model as sentence-transformers saves it, and what that makes of it."""
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    root = tmp_path_factory.mktemp("router")
    tiny("BertForMaskedLM", root / "masked")
    transformer = Transformer(str(root / "masked"), transformer_task="fill-mask")
    weights = torch.rand(SIZE, generator=torch.Generator().manual_seed(1)) - 0.1
    router = Router.for_query_document(
        query_modules=[SparseStaticEmbedding(transformer.tokenizer, weight=weights)],
        document_modules=[transformer, SpladePooling("max")],
    )
    sentence_transformers.SparseEncoder(modules=[router], device="cpu").save_pretrained(str(root / "saved"))
    model = sentence_transformers.SparseEncoder(str(root / "saved"), device="cpu")
    options = {"convert_to_sparse_tensor": False, "show_progress_bar": False}
    queries, documents = model.encode_query(QUERIES, **options), model.encode_document(DOCUMENTS, **options)
    return root / "saved", queries.numpy(), documents.numpy()


def same(outputs, expected):
    for output, row in zip(outputs, expected, strict=True):
        assert output.outputs.indices.tolist() == np.flatnonzero(row).tolist()
        np.testing.assert_allclose(output.outputs.dense(), row, rtol=1e-5, atol=1e-5)


def test_queries_and_documents_equal_sentence_transformers(saved, load):
    folder, queries, documents = saved
    llm = load(folder)
    same(llm.embed_sparse(QUERIES, input_type="query", use_tqdm=False), queries)
    same(llm.embed_sparse(QUERIES, is_query=True, use_tqdm=False), queries)
    same(llm.embed_sparse(DOCUMENTS, input_type="document", use_tqdm=False), documents)
    same(llm.embed_sparse(DOCUMENTS, use_tqdm=False), documents)
    dense = np.stack([output.outputs.array for output in llm.embed(QUERIES, input_type="query", use_tqdm=False)])
    np.testing.assert_allclose(dense, queries, atol=1e-6)


def test_a_model_file_contains_the_weights_of_queries(saved, load, tmp_path):
    folder, queries, _ = saved
    text = model_file(get_plugin_manager().registry, str(folder), read_arguments({}))
    assert "[retrieval.static_query_weights]" in text
    (tmp_path / "model.toml").write_text(text)
    same(load(tmp_path / "model.toml").embed_sparse(QUERIES, input_type="query", use_tqdm=False), queries)


@pytest.mark.parametrize("most", [1, 2, 4])
def test_the_heaviest_weights_of_a_query_may_be_below_zero(tmp_path, saved, load, sentence_transformers, most):
    folder = copytree(saved[0], tmp_path / "model")
    (path,) = folder.glob("query_*/model.safetensors")
    weights = torch.randn(SIZE, generator=torch.Generator().manual_seed(2))
    save_file({"weight": weights}, path, metadata={"format": "pt"})
    model = sentence_transformers.SparseEncoder(str(folder), device="cpu")
    expected = model.encode_query(QUERIES, convert_to_sparse_tensor=False, max_active_dims=most).numpy()
    same(load(folder).embed_sparse(QUERIES, input_type="query", max_active_dims=most, use_tqdm=False), expected)


def test_the_model_does_not_run_for_a_query(saved, load, monkeypatch):
    llm = load(saved[0])
    model = llm._loaded.model  # noqa: SLF001  a test of it looks into it
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("the model ran"))
    (output,) = llm.embed_sparse(QUERIES[:1], input_type="query", return_tokens=True, use_tqdm=False)
    assert output.prompt_token_ids == llm.get_tokenizer()(QUERIES[0], add_special_tokens=False)["input_ids"]
    assert sorted(output.outputs.tokens) == ["mill", "old", "the"]


def test_score_knows_the_sides(saved, load):
    folder, queries, documents = saved
    scores = [output.outputs.score for output in load(folder).score(QUERIES, DOCUMENTS, use_tqdm=False)]
    assert scores == pytest.approx(np.einsum("ij,ij->i", queries, documents).tolist(), rel=1e-5)


def test_concurrent_queries_and_documents_share_an_engine(saved):
    folder, queries, documents = saved

    async def ask():
        async with AsyncLLM(str(folder), num_workers=1) as llm:
            return await asyncio.gather(
                llm.embed_sparse(QUERIES, input_type="query"), llm.embed_sparse(DOCUMENTS, input_type="document")
            )

    scores = asyncio.run(ask())
    same(scores[0], queries)
    same(scores[1], documents)


def test_a_json_file_of_tokens_and_weights_is_read(saved, load, tmp_path):
    import shutil

    folder = shutil.copytree(saved[0], tmp_path / "words")
    module = folder / "query_0_SparseStaticEmbedding"
    (module / "model.safetensors").unlink()
    (module / "config.json").write_text(json.dumps({"frozen": True, "path": "idf.json"}))
    (module / "idf.json").write_text(json.dumps({"mill": 2.5, "old": 1.5, "unheard": 9}))
    (output,) = load(folder).embed_sparse(QUERIES[:1], input_type="query", return_tokens=True, use_tqdm=False)
    assert dict(zip(output.outputs.tokens, output.outputs.values.tolist(), strict=True)) == {"mill": 2.5, "old": 1.5}


def test_a_query_that_is_too_long_is_refused_or_cut(saved, load):
    llm = load(saved[0])
    with pytest.raises(InvalidInputError, match="maximum context length is 64 tokens"):
        llm.embed_sparse("mill " * 100, input_type="query", use_tqdm=False)
    (output,) = llm.embed_sparse("mill " * 100, input_type="query", truncate_prompt_tokens=-1, use_tqdm=False)
    assert (output.num_prompt_tokens, output.num_dropped_tokens) == (64, 36)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda config: config["structure"].update(query=["document_0_Transformer"]),
            "the route 'query' consists of Transformer. Supported routes consist",
        ),
        (lambda config: config.pop("structure"), "must contain 'types' and 'structure'"),
        (lambda config: config["structure"].update(image=["document_0_Transformer"]), "unsupported use of Sparse"),
    ],
    ids=["another module", "no structure", "a third route"],
)
def test_another_router_is_refused(saved, load, tmp_path, change, message):
    import shutil

    folder = shutil.copytree(saved[0], tmp_path / "other")
    config = json.loads((folder / "router_config.json").read_text())
    change(config)
    (folder / "router_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (["Router", "Normalize"], "unsupported use of SparseStaticEmbedding"),
        (["Router", "Router"], "unsupported modules Router, Router. Only one Router"),
        (["SparseStaticEmbedding"], "unsupported modules SparseStaticEmbedding. Only one Router"),
    ],
    ids=["Router-Normalize", "Router-Router", "SparseStaticEmbedding"],
)
def test_a_router_among_other_modules_or_a_lone_table_is_refused(saved, load, tmp_path, types, message):
    import shutil

    folder = shutil.copytree(saved[0], tmp_path / "other")
    lines = [
        {"idx": index, "path": "" if name == "Router" else name, "type": f"sentence_transformers.x.{name}"}
        for index, name in enumerate(types)
    ]
    (folder / "modules.json").write_text(json.dumps(lines))
    with pytest.raises(CheckpointError, match=message):
        load(folder)
