"""PackedBatch.pack: token ids and token types in arrays or tensors, of one sequence or of several."""

import numpy as np
import torch

from millpond.nn import PackedBatch


def test_arrays_and_tensors_of_any_integer_type_are_concatenated():
    batch = PackedBatch.pack(
        [np.array([5, 6]), torch.tensor([7]), np.array([8, 9, 10], dtype=np.int32)],
        token_type_ids=[None, torch.tensor([1]), np.array([0, 1, 1])],
    )
    assert batch.lengths == (2, 1, 3)
    assert batch.input_ids.tolist() == [5, 6, 7, 8, 9, 10]
    assert batch.positions.tolist() == [0, 1, 0, 0, 1, 2]
    assert batch.token_type_ids.tolist() == [0, 0, 1, 0, 1, 1]
    assert {each.dtype for each in (batch.input_ids, batch.positions, batch.token_type_ids)} == {torch.int64}


def test_a_single_sequence_has_the_tensors_of_a_batch():
    ids, types = np.array([5, 6, 7], dtype=np.int32), np.array([0, 1, 1])
    batch = PackedBatch.pack([ids], token_type_ids=[types], device=torch.device("cpu"))
    assert batch.input_ids.tolist() == [5, 6, 7]
    assert batch.positions.tolist() == [0, 1, 2]
    assert batch.token_type_ids.tolist() == [0, 1, 1]
    assert {each.dtype for each in (batch.input_ids, batch.positions, batch.token_type_ids)} == {torch.int64}


def test_without_token_types_a_batch_has_none():
    assert PackedBatch.pack([np.array([1]), np.array([2, 3])], token_type_ids=[None, None]).token_type_ids is None
    assert PackedBatch.pack([np.array([1])]).token_type_ids is None


def test_lengths_on_the_host_are_64_bit_integers():
    lengths = PackedBatch.pack([np.array([1]), np.array([2, 3])]).lengths_on_host
    assert (lengths.tolist(), lengths.dtype, lengths.device.type) == ([1, 2], torch.int64, "cpu")
