"""Outputs: conversion of arrays to lists and tensors, and the results of prompts."""

import copy
import pickle

import numpy as np
import pytest
import torch

from millpond import EmbeddingOutput, EmbeddingRequestOutput, InvalidInputError, PoolingOutput, PoolingRequestOutput


def test_an_embedding_is_a_list_of_floats():
    output = EmbeddingOutput(np.array([0.5, -1.0], dtype=np.float32))
    assert output.embedding == [0.5, -1.0]
    assert {type(value) for value in output.embedding} == {float}
    assert output.hidden_size == 2
    assert repr(output) == "EmbeddingOutput(hidden_size=2)"


@pytest.mark.parametrize("values", [[[0.5]], 0.5, np.zeros((2, 0))])
def test_an_embedding_has_one_dimension(values):
    with pytest.raises(ValueError, match="pooled_data should be a 1-D embedding vector"):
        EmbeddingOutput(values)


def test_a_bare_result_is_a_float32_tensor():
    output = PoolingOutput([[1, 2], [3, 4]])
    assert torch.equal(output.data, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert (output.data.dtype, output.data.device.type) == (torch.float32, "cpu")
    assert repr(output) == "PoolingOutput(shape=(2, 2))"


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64])
def test_arrays_are_float32(dtype):
    assert EmbeddingOutput(np.ones(3, dtype=dtype)).array.dtype == np.float32


def test_float32_arrays_are_not_copied():
    array = np.ones(3, dtype=np.float32)
    assert EmbeddingOutput(array).array is array
    assert PoolingOutput.from_base(EmbeddingOutput(array)).array is array


def test_results_are_equal_by_type_and_values():
    assert EmbeddingOutput([1, 2]) == EmbeddingOutput([1, 2])
    assert EmbeddingOutput([1, 2]) != EmbeddingOutput([1, 3])
    assert EmbeddingOutput([1, 2]) != EmbeddingOutput([1, 2, 3])
    assert PoolingOutput([1, 2]) != EmbeddingOutput([1, 2])
    assert EmbeddingOutput([1, 2]) != [1, 2]
    with pytest.raises(TypeError, match="unhashable"):
        hash(EmbeddingOutput([1]))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda output: pickle.loads(pickle.dumps(output))])
def test_results_can_be_copied_and_pickled(duplicate):
    output = EmbeddingRequestOutput(request_id="7", outputs=EmbeddingOutput([1, 2]), prompt_token_ids=[3, 4])
    assert duplicate(output) == output


def test_an_output_contains_the_result_or_the_error_of_a_prompt():
    output = PoolingRequestOutput(request_id="7", outputs=PoolingOutput([1]), prompt_token_ids=[3, 4])
    assert (output.finished, output.error, output.num_cached_tokens) == (True, None, 0)
    assert (output.num_prompt_tokens, output.num_dropped_tokens, output.truncated) == (2, 0, False)
    error = InvalidInputError("no", index=3)
    failed = PoolingRequestOutput(request_id="8", outputs=None, prompt_token_ids=[], error=error, num_dropped_tokens=5)
    assert (failed.error, failed.truncated, failed.num_prompt_tokens) == (error, True, 0)
    assert failed != output


def test_a_loaded_model_returns_these_outputs(tiny_bert):
    (embedded,) = tiny_bert.embed("the cat")
    assert type(embedded) is EmbeddingRequestOutput
    assert type(embedded.outputs) is EmbeddingOutput
    (encoded,) = tiny_bert.encode("the cat", pooling_task="embed")
    assert type(encoded) is PoolingRequestOutput
    assert encoded.outputs.data.tolist() == embedded.outputs.embedding
    (tokens,) = tiny_bert.encode("the cat", pooling_task="token_embed")
    assert tokens.outputs.data.shape == (embedded.num_prompt_tokens, 32)


def test_request_ids_are_all_different(tiny_bert):
    outputs = tiny_bert.embed(["a", "b"]) + tiny_bert.embed(["a", ""], on_error="return")
    assert len({output.request_id for output in outputs}) == 4
    assert {type(output.request_id) for output in outputs} == {str}


def test_changing_a_result_does_not_change_others(tiny_bert):
    """Equal prompts are computed once; their results must not be one array."""
    first, second, third = tiny_bert.encode(["the cat", "the cat", "a dog"], pooling_task="embed")
    before = second.outputs.array.copy(), third.outputs.array.copy()
    first.outputs.data.zero_()
    assert np.array_equal(second.outputs.array, before[0])
    assert np.array_equal(third.outputs.array, before[1])
    first, second = tiny_bert.encode(["the cat", "the cat"], pooling_task="token_embed")
    first.outputs.data.zero_()
    assert second.outputs.array.any()
