"""``embed`` returns token vectors if the pooler config names ``token_embed``, or if the model has no others."""

import numpy as np
import pytest

from millpond import InvalidInputError, LateChunkingParams, PoolerConfig, PoolingParams, TokenEmbeddingsOutput
from millpond.testing.checkpoints import tiny
from millpond_models.testing.bge_m3 import tiny_bge_m3

TEXTS = ["the old mill by the pond", "a bird"]
TOKEN_EMBED = PoolerConfig(task="token_embed")


def tokens(llm, **params):
    outputs = llm.encode(TEXTS, PoolingParams(**params), pooling_task="token_embed", use_tqdm=False)
    return [output.outputs.array for output in outputs]


def same(outputs, arrays):
    for output, array in zip(outputs, arrays, strict=True):
        np.testing.assert_allclose(output.outputs.array, array, atol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny("BertModel", tmp_path_factory.mktemp("bert") / "model", is_matryoshka=True)


@pytest.fixture
def llm(folder, load):
    return load(folder, pooler_config=TOKEN_EMBED)


@pytest.mark.parametrize("config", [TOKEN_EMBED, {"task": "token_embed"}, '{"pooling_task": "token_embed"}'], ids=str)
def test_each_form_of_the_pooler_config_selects_token_vectors(folder, load, config):
    llm = load(folder, pooler_config=config)
    outputs = llm.embed(TEXTS, use_tqdm=False)
    same(outputs, tokens(llm))
    first = outputs[0].outputs
    assert isinstance(first, TokenEmbeddingsOutput)
    assert (first.array.shape, first.hidden_size, first.data.shape) == ((8, 32), 32, (8, 32))
    assert first.embedding == first.array.tolist()
    assert repr(first) == "TokenEmbeddingsOutput(num_vectors=8, hidden_size=32)"
    assert outputs[0].prompt_token_ids == llm.encode(TEXTS[0], pooling_task="embed")[0].prompt_token_ids


def test_parameters_with_the_task_embed_request_one_vector(folder, load, llm):
    plain = load(folder).embed(TEXTS, use_tqdm=False)
    outputs = llm.embed(TEXTS, pooling_params=PoolingParams(task="embed"), use_tqdm=False)
    same(outputs, [output.outputs.array for output in plain])
    assert [output.outputs.array.ndim for output in plain] == [1, 1]


def test_dimensions_and_normalization_apply_to_each_token(llm):
    same(llm.embed(TEXTS, dimensions=8, use_tqdm=False), tokens(llm, dimensions=8))
    raw = PoolingParams(use_activation=False)
    same(llm.embed(TEXTS, pooling_params=raw, use_tqdm=False), tokens(llm, use_activation=False))


def test_one_array_of_token_vectors_is_refused(llm):
    with pytest.raises(InvalidInputError, match="output='array' needs one vector per prompt") as caught:
        llm.embed(TEXTS, output="array")
    assert caught.value.parameter == "output"


@pytest.mark.parametrize("option", [{"on_overflow": "chunk"}, {"dimensions": 33}], ids=str)
def test_options_that_token_vectors_do_not_have_are_refused(llm, option):
    with pytest.raises(InvalidInputError):
        llm.embed(TEXTS, **option)


def test_late_chunking_of_embed_returns_vectors_and_ranges_of_chunks(llm):
    params = PoolingParams(late_chunking_params=LateChunkingParams(3))
    chunked = llm.embed(TEXTS, pooling_params=params, use_tqdm=False)
    expected = llm.encode(TEXTS, params, pooling_task="token_embed", use_tqdm=False)
    same(chunked, [output.outputs.array for output in expected])
    assert [output.late_chunking for output in chunked] == [output.late_chunking for output in expected]
    assert [chunk.char_range for chunk in chunked[0].late_chunking.chunks] == [(0, 7), (8, 19), (20, 24)]
    assert llm.embed(TEXTS, use_tqdm=False)[0].late_chunking is None


def test_only_the_setting_changes_a_model_with_both_kinds_of_vectors(tmp_path, load):
    folder = tiny_bge_m3(tmp_path / "m3")
    assert load(folder).embed("a", use_tqdm=False)[0].outputs.array.ndim == 1
    llm = load(folder, pooler_config=TOKEN_EMBED)
    same(llm.embed(TEXTS, use_tqdm=False), tokens(llm))
