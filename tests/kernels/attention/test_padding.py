"""Padded groups: the sequences of a batch in tensors of similar lengths, and back."""

import pytest
import torch

from millpond.nn import PackedBatch
from millpond_kernels.attention import padding


def batch_of(*lengths):
    return PackedBatch.pack([torch.zeros(length) for length in lengths])


@pytest.mark.parametrize("lengths", [(1,), (3, 3), (1, 2, 40, 41, 90, 200), (5, 1, 300, 7)], ids=str)
def test_rows_are_the_same_after_padding_and_back(lengths):
    batch = batch_of(*lengths)
    x = torch.randn(batch.num_tokens, 2, 3)
    rows = [group.unpad(group.pad(x)) for group in padding.padded_groups(batch)]
    torch.testing.assert_close(torch.cat(rows), x, rtol=0, atol=0)
    assert sum(group.count for group in padding.padded_groups(batch)) == len(lengths)


def test_each_sequence_is_a_row_with_zeros_after_it():
    (group,) = padding.padded_groups(batch_of(1, 3, 2))
    padded = group.pad(torch.arange(1.0, 7.0))
    assert padded.tolist() == [[1, 0, 0], [2, 3, 4], [5, 6, 0]]
    assert group.num_attended.tolist() == [1, 3, 2]


def test_sequences_of_very_different_lengths_are_in_different_groups():
    groups = padding.padded_groups(batch_of(1, 30, 32, 60, 64, 65, 500))
    assert [(group.count, group.length) for group in groups] == [(3, 32), (3, 65), (1, 500)]


def test_groups_are_small_enough_for_their_scores(monkeypatch):
    monkeypatch.setattr(padding, "MAX_PADDED_SCORES", 3 * 10**2)
    groups = padding.padded_groups(batch_of(*[10] * 7, 20))
    assert [(group.count, group.length) for group in groups] == [(3, 10), (3, 10), (1, 10), (1, 20)]
