"""Recorded forward passes: buckets, padding, and models that cannot be recorded, with a fake recorder on the CPU."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from millpond.engine.graphs import MAX_SEQS, GraphedModel, Recording
from millpond.nn import PackedBatch

CPU = torch.device("cpu")
MAX_LENGTH = 20
BUCKETS = (8, 32)


class FakeRecorder:
    """Records a function: a replay calls it again and writes to the first output, as a graph does.

    Attributes:
        replays: The number of tokens of each replay.
    """

    def __init__(self):
        self.replays = []

    def record(self, work):
        output = torch.full_like(work(), torch.nan)

        def replay():
            self.replays.append(len(output))
            output.copy_(work())

        return Recording(replay, output)


class MeanBySequence(nn.Module):
    """Adds the mean of each sequence to its tokens' ids and positions, from the offsets on the device."""

    def forward(self, batch):
        values = torch.stack([batch.input_ids, batch.positions], dim=1).float()
        sequence = torch.bucketize(torch.arange(batch.num_tokens), batch.cu_seqlens[1:], right=True)
        sums = torch.zeros(len(batch.cu_seqlens), 2).index_add_(0, sequence, values)
        return values + (sums / batch.cu_seqlens.diff(append=batch.cu_seqlens[-1:]).clamp(min=1).unsqueeze(1))[sequence]


class ReadsLengths(MeanBySequence):
    def forward(self, batch):
        assert batch.lengths
        return super().forward(batch)


def batch_of(*sequences, **fields):
    return PackedBatch.pack([torch.tensor(ids) for ids in sequences], **fields)


@pytest.fixture
def graphed():
    def graphed(model=None):
        recorder = FakeRecorder()
        options = {"device": CPU, "max_length": MAX_LENGTH, "buckets": BUCKETS}
        return SimpleNamespace(model=GraphedModel(model or MeanBySequence(), recorder, **options), recorder=recorder)

    return graphed


@pytest.mark.parametrize(
    ("sequences", "bucket"),
    [([[5]], 8), ([[1, 2, 3], [4, 5, 6, 7, 9]], 8), ([[3] * 9], 32), ([[1, 2], list(range(20)), [7] * 10], 32)],
    ids=str,
)
def test_a_replay_computes_what_the_model_computes(graphed, sequences, bucket):
    pair, batch = graphed(), batch_of(*sequences)
    for _ in range(2):
        torch.testing.assert_close(pair.model(batch), MeanBySequence()(batch))
    assert pair.recorder.replays == [bucket] * 2


def test_a_bucket_serves_batches_of_different_shapes(graphed):
    pair = graphed()
    batches = [batch_of([9] * 6), batch_of([1], [2], [3, 4, 5]), batch_of([8, 7])]
    results = [pair.model(batch) for batch in batches]  # an output is not overwritten by later replays
    for batch, result in zip(batches, results, strict=True):
        torch.testing.assert_close(result, MeanBySequence()(batch))
    assert pair.recorder.replays == [8, 8, 8]


@pytest.mark.parametrize(
    "batch",
    [
        batch_of([1] * 19, [2] * 14),
        batch_of([1] * (MAX_LENGTH + 1)),
        batch_of(*[[1]] * (MAX_SEQS + 1)),
        batch_of([1, 2], token_type_ids=[torch.tensor([0, 1])]),
        batch_of([1, 2], routes=["query"]),
    ],
    ids=["too many tokens", "a long sequence", "too many sequences", "token types", "a route"],
)
def test_other_batches_are_computed_as_usual(graphed, batch):
    pair = graphed()
    torch.testing.assert_close(pair.model(batch), MeanBySequence()(batch))
    assert pair.recorder.replays == []


def test_a_model_that_reads_lengths_on_the_host_is_not_recorded(graphed):
    pair, batch = graphed(ReadsLengths()), batch_of([1, 2], [3])
    for _ in range(2):
        torch.testing.assert_close(pair.model(batch), MeanBySequence()(batch))
    assert pair.recorder.replays == []
