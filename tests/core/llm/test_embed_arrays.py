"""Embeddings as one array, with fewer dimensions, and conversion of outputs by numpy."""

import asyncio

import numpy as np
import pytest

from millpond import LLM, AsyncLLM, InvalidInputError, PoolingParams
from millpond.testing import checkpoints

TEXTS = ["the cat and the dog", "a lake", "the cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(checkpoints.tiny("BertModel", tmp_path_factory.mktemp("arrays") / "model", is_matryoshka=True))


@pytest.fixture(scope="module")
def llm(folder):
    with LLM(folder) as llm:
        yield llm


def test_an_array_has_the_vectors_in_the_order_of_the_prompts(llm):
    vectors = llm.embed(TEXTS, output="array", use_tqdm=False)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, [output.outputs.array for output in llm.embed(TEXTS, use_tqdm=False)])


def test_one_prompt_is_one_row(llm):
    assert llm.embed("the cat", output="array").shape == (1, 32)


def test_dimensions_are_those_of_the_parameters(llm):
    short = llm.embed(TEXTS, dimensions=8, output="array")
    same = llm.embed(TEXTS, pooling_params=PoolingParams(dimensions=8), output="array")
    assert short.shape == (3, 8)
    assert np.array_equal(short, same)
    assert np.allclose(np.linalg.norm(short, axis=1), 1)


def test_the_row_of_a_prompt_that_failed_is_nan(llm):
    vectors = llm.embed(["the cat", "cat " * 500, "a lake"], output="array", on_error="return")
    assert np.isnan(vectors[1]).all()
    assert np.isfinite(vectors[[0, 2]]).all()
    assert llm.embed(["cat " * 500], output="array", on_error="return").shape == (1, 32)
    assert llm.embed(["cat " * 500], output="array", dimensions=8, on_error="return").shape == (1, 8)


def test_an_unknown_form_is_refused(llm):
    with pytest.raises(InvalidInputError, match="output='list': expected one of 'objects', 'array'"):
        llm.embed("a", output="list")


def test_async_calls_take_the_same(folder, llm):
    async def ask():
        async with AsyncLLM(folder) as other:
            return await other.embed(TEXTS, output="array", dimensions=8)

    assert np.array_equal(asyncio.run(ask()), llm.embed(TEXTS, output="array", dimensions=8))


def test_numpy_converts_outputs(llm):
    outputs = llm.embed(TEXTS)
    stacked = np.stack(outputs)
    assert stacked.dtype == np.float32
    assert np.array_equal(stacked, llm.embed(TEXTS, output="array"))
    assert np.asarray(outputs[0].outputs, dtype=np.float64).dtype == np.float64
    copied = np.array(outputs[0])
    copied[:] = 0
    assert outputs[0].outputs.array.any()


def test_numpy_gets_the_error_of_a_prompt_that_failed(llm):
    (output,) = llm.embed(["cat " * 500], on_error="return")
    with pytest.raises(InvalidInputError, match="maximum context length"):
        np.asarray(output)
