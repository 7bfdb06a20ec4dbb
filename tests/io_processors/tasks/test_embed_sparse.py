"""``LLM.embed_sparse``: the weights of sentence-transformers, by token ids."""

import asyncio
import json
import shutil

import numpy as np
import pytest

from millpond import LLM, AsyncLLM, InvalidInputError, PoolingParams, SparseEmbeddingOutput
from millpond.testing.checkpoints import tiny, vocabulary, write_sparse_encoder

TEXTS = ["the cat sat on the mill", "a", "rain, snow and wind over the river", "The NIGHT was Cold; the road was long"]
SIZE = len(vocabulary("bert"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny SparseEncoder."""
    folder = tiny("BertForMaskedLM", tmp_path_factory.mktemp("sparse") / "model")
    write_sparse_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def llm(folder):
    with LLM(str(folder), num_workers=1) as llm:
        yield llm


def theirs(sentence_transformers, folder, **options):
    model = sentence_transformers.SparseEncoder(str(folder), device="cpu")
    vectors = model.encode(TEXTS, batch_size=3, show_progress_bar=False, convert_to_sparse_tensor=False, **options)
    return model, vectors.numpy()


def same(outputs, expected):
    """Sparse outputs beside dense rows."""
    for output, row in zip(outputs, expected, strict=True):
        weights = output.outputs
        assert weights.indices.tolist() == np.flatnonzero(row).tolist()
        np.testing.assert_allclose(weights.values, row[weights.indices], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(weights.dense(), row, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("way", [("max", "relu"), ("sum", "relu"), ("max", "log1p_relu"), ("sum", "log1p_relu")])
def test_weights_and_tokens_equal_theirs(tmp_path, load, sentence_transformers, way):
    folder = tiny("BertForMaskedLM", tmp_path)
    write_sparse_encoder(folder, strategy=way[0], activation=way[1])
    model, expected = theirs(sentence_transformers, folder)
    outputs = load(folder).embed_sparse(TEXTS, return_tokens=True)
    same(outputs, expected)
    for output, decoded in zip(outputs, model.decode(model.encode(TEXTS, show_progress_bar=False)), strict=True):
        weights = dict(zip(output.outputs.tokens, output.outputs.values.tolist(), strict=True))
        assert weights == pytest.approx(dict(decoded), rel=1e-5, abs=1e-5)


def test_the_largest_weights_equal_the_reference(llm, folder, sentence_transformers):
    _, expected = theirs(sentence_transformers, folder, max_active_dims=7)
    outputs = llm.embed_sparse(TEXTS, max_active_dims=7)
    assert [output.outputs.num_terms for output in outputs] == [7] * len(TEXTS)
    same(outputs, expected)


def test_the_dense_vector_is_available_too(llm):
    sparse, dense = llm.embed_sparse(TEXTS[0])[0].outputs, llm.embed(TEXTS[0])[0].outputs
    assert isinstance(sparse, SparseEmbeddingOutput)
    assert sparse.size == dense.hidden_size == SIZE
    assert np.array_equal(sparse.dense(), dense.array)
    (bare,) = llm.encode(TEXTS[0], pooling_task="embed_sparse")
    assert np.array_equal(bare.outputs.array, dense.array)
    assert (sparse.indices.dtype, sparse.values.dtype, sparse.tokens) == (np.int64, np.float32, None)


def test_the_largest_weights_are_shown_first(llm):
    sparse = llm.embed_sparse(TEXTS[0])[0].outputs
    top = sparse.top(5)
    assert [weight for _, weight in top] == sorted(sparse.values.tolist(), reverse=True)[:5]
    assert all(sparse.dense()[token] == np.float32(weight) for token, weight in top)


def test_one_forward_returns_sparse_and_token_vectors(llm):
    wanted = [{"task": "embed_sparse", "extra_kwargs": {"max_active_dims": 4}}, {"task": "token_embed"}]
    (output,) = llm.represent(TEXTS[0], wanted)
    sparse, tokens = output.outputs.results
    assert sparse == llm.embed_sparse(TEXTS[0], max_active_dims=4)[0].outputs
    assert tokens == llm.encode(TEXTS[0], pooling_task="token_embed")[0].outputs


def test_async_calls_return_the_same(folder, llm):
    async def ask():
        async with AsyncLLM(str(folder), num_workers=1) as online:
            return await online.embed_sparse(TEXTS, return_tokens=True)

    for output, expected in zip(asyncio.run(ask()), llm.embed_sparse(TEXTS, return_tokens=True), strict=True):
        assert output.outputs == expected.outputs
        assert output.outputs.tokens == expected.outputs.tokens


def test_parameters_can_contain_the_options(llm):
    params = [PoolingParams(extra_kwargs={"max_active_dims": 2}), None]
    outputs = llm.embed_sparse(TEXTS[:2], pooling_params=params, max_active_dims=3)
    assert [output.outputs.num_terms for output in outputs] == [2, 3]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"max_active_dims": 0}, "max_active_dims must be a positive number of tokens; got 0"),
        ({"input_type": "query"}, "input_type='query': .* does not distinguish queries and documents"),
        ({"is_query": True, "input_type": "document"}, "is_query=True and input_type='document': pass one"),
        (
            {"pooling_params": PoolingParams(extra_kwargs={"top": 3})},
            "Unknown option 'top' of the task 'embed_sparse'",
        ),
        ({"on_overflow": "chunk"}, "on_overflow='chunk' is only supported by the task 'embed'"),
    ],
    ids=str,
)
def test_unsupported_parameters_are_refused(llm, asked, message):
    with pytest.raises(InvalidInputError, match=message):
        llm.embed_sparse("a", **asked)


def test_the_input_type_selects_a_prompt_of_the_checkpoint(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    config = tmp_path / "model" / "config_sentence_transformers.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"prompts": {"query": "what is "}}))
    with LLM(str(tmp_path / "model"), num_workers=1) as llm:
        for kind, prompt in (("query", "what is "), ("document", "")):
            (output,) = llm.embed_sparse("a mill", input_type=kind)
            assert output.outputs == llm.embed_sparse(f"{prompt}a mill")[0].outputs


def test_a_model_without_token_weights_is_refused(tiny_bert):
    assert "embed_sparse" not in tiny_bert.supported_tasks
    with pytest.raises(InvalidInputError, match=r"has no sparse embeddings.*Supported tasks: \('embed'"):
        tiny_bert.embed_sparse("a")


def test_an_output_is_built_from_either_form():
    whole = SparseEmbeddingOutput([0.0, 2.0, 0.0, 0.5])
    parts = SparseEmbeddingOutput([2.0, 0.5], indices=[1, 3], size=4)
    assert whole == parts
    assert repr(whole) == "SparseEmbeddingOutput(num_terms=2, size=4)"
    assert whole != SparseEmbeddingOutput([2.0, 0.5], indices=[1, 2], size=4)
    assert SparseEmbeddingOutput.from_base(whole) == whole
