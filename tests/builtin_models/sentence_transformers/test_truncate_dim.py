"""The ``truncate_dim`` that sentence-transformers 6 saves: the default number of dimensions of embeddings."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond_command import cli

KEPT, SIZE = 24, 32
TEXTS = ["the cat", "rain and wind over the river"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory, kinds, save):
    """Folders saved with and without a Normalize module, and the models of sentence-transformers."""
    bare = tiny("BertModel", tmp_path_factory.mktemp("bare"))
    models = {}
    for name, last in (("plain", []), ("normalized", [kinds.Normalize()])):
        folder = tmp_path_factory.mktemp(name)
        modules = [kinds.Transformer(str(bare)), kinds.Pooling(SIZE, pooling_mode="mean"), *last]
        models[name] = folder, save(folder, modules, truncate_dim=KEPT, similarity_fn_name="dot")
    return models


@pytest.mark.parametrize("name", ["plain", "normalized"])
def test_embeddings_have_the_saved_number_of_dimensions(saved, load, assert_same, name):
    folder, model = saved[name]
    llm = load(folder)
    assert (llm.model_config.embedding_size, llm.model_config.embedding.full_size) == (KEPT, SIZE)
    assert model.get_embedding_dimension() == KEPT
    assert_same(llm, model)


@pytest.mark.parametrize("name", ["plain", "normalized"])
def test_scores_are_those_of_the_truncated_vectors(saved, load, name):
    folder, model = saved[name]
    (expected,) = model.similarity(model.encode(TEXTS[:1]), model.encode(TEXTS[1:])).tolist()[0]
    (output,) = load(folder).score(*TEXTS, use_tqdm=False)
    assert abs(output.outputs.score - expected) <= 1e-5


def test_requested_dimensions_take_precedence_over_the_saved_ones(saved, load):
    folder, model = saved["plain"]
    llm = load(folder)
    for dimensions in (8, KEPT, SIZE):
        params = PoolingParams(dimensions=dimensions)
        outputs = llm.encode(TEXTS, params, pooling_task="embed", use_tqdm=False)
        expected = model.encode(TEXTS, truncate_dim=dimensions)
        np.testing.assert_allclose([it.outputs.array for it in outputs], expected, rtol=0, atol=1e-5)
    mixed = llm.embed(TEXTS, pooling_params=[None, PoolingParams(dimensions=8)], use_tqdm=False)
    assert [output.outputs.hidden_size for output in mixed] == [KEPT, 8]
    with pytest.raises(InvalidInputError, match=rf"range \[1, {SIZE}\], got {SIZE + 1}"):
        llm.encode(TEXTS, PoolingParams(dimensions=SIZE + 1), pooling_task="embed", use_tqdm=False)


def test_requested_dimensions_are_normalized_again(saved, load):
    (output,) = load(saved["normalized"][0]).embed(TEXTS[0], pooling_params=PoolingParams(dimensions=8), use_tqdm=False)
    assert abs(np.linalg.norm(output.outputs.array) - 1) <= 1e-6


def test_pooler_config_takes_precedence_over_the_saved_number(saved, load):
    llm = load(saved["plain"][0], pooler_config={"dimensions": 16})
    assert llm.embed(TEXTS[0], use_tqdm=False)[0].outputs.hidden_size == 16


def test_is_matryoshka_false_forbids_other_dimensions(saved, load):
    llm = load(saved["plain"][0], hf_overrides={"is_matryoshka": False})
    assert llm.embed(TEXTS[0], use_tqdm=False)[0].outputs.hidden_size == KEPT
    with pytest.raises(InvalidInputError, match="does not support matryoshka"):
        llm.encode(TEXTS, PoolingParams(dimensions=8), pooling_task="embed", use_tqdm=False)


def test_vectors_of_tokens_keep_all_dimensions(saved, load):
    outputs = load(saved["plain"][0]).encode(TEXTS, pooling_task="token_embed", use_tqdm=False)
    assert {output.outputs.array.shape[1] for output in outputs} == {SIZE}


def test_a_larger_truncate_dim_has_no_effect(tmp_path, kinds, save, load, assert_same):
    bare = tiny("BertModel", tmp_path / "bare")
    model = save(tmp_path / "saved", [kinds.Transformer(str(bare)), kinds.Pooling(SIZE)], truncate_dim=100)
    llm = load(tmp_path / "saved")
    assert llm.model_config.embedding_size == SIZE
    assert_same(llm, model)


def test_pieces_of_a_long_text_are_merged_before_they_are_cut(saved, load):
    llm = load(saved["normalized"][0])
    text = "the old mill by the pond " * 20
    whole = llm.embed(text, pooling_params=PoolingParams(dimensions=SIZE), on_overflow="chunk", use_tqdm=False)
    (cut,) = llm.embed(text, on_overflow="chunk", use_tqdm=False)
    np.testing.assert_allclose(cut.outputs.array, whole[0].outputs.array[:KEPT], rtol=0, atol=1e-6)


def test_inspect_shows_where_the_number_comes_from(saved):
    done = CliRunner().invoke(cli.app, ["inspect", str(saved["plain"][0]), "--json"])
    facts = json.loads(done.stdout)
    origin = "config_sentence_transformers.json (truncate_dim)"
    assert facts["embedding_size"] == KEPT
    assert facts["truncate_dim"] == {"value": KEPT, "of": SIZE, "from": origin}
    assert facts["matryoshka"] == {"dimensions": None, "from": origin}
    lines = CliRunner().invoke(cli.app, ["inspect", str(saved["plain"][0])]).stdout
    assert f"the first {KEPT} of {SIZE} dimensions by default, from {origin}" in lines
