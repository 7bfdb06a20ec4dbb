"""Recorded forward passes: buckets, padding, and models that cannot be recorded, with a fake recorder on the CPU."""

import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from millpond import LLM
from millpond.nn import Attention, PackedBatch
from millpond.testing.checkpoints import tiny
from millpond.types.errors import InvalidInputError
from millpond_cuda.graphs import MAX_SEQS, CudaRecorder, GraphedModel, Recording
from millpond_cuda.recordable import NotRecordableError, RecordableOps

CPU = torch.device("cpu")
MAX_LENGTH = 20
BUCKETS = (8, 32)


class FakeRecorder:
    """Records a function: a replay calls it again and writes to the first output, as a graph does.

    Attributes:
        replays: The number of tokens of each replay.
        fails_at: The errors of recordings, by their number of tokens.
    """

    def __init__(self):
        self.replays = []
        self.fails_at = {}

    def record(self, work):
        if error := self.fails_at.get(len(work())):
            raise error
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


class WaitsForValues(MeanBySequence):
    def forward(self, batch):
        assert batch.input_ids.sum().item() > 0
        return super().forward(batch)


class FailsOn(MeanBySequence):
    def __init__(self, token):
        super().__init__()
        self.token = token

    def forward(self, batch):
        if self.token in batch.input_ids.numpy():  # not an operation of torch, which would wait
            raise RuntimeError("poison")
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


@pytest.mark.parametrize(
    ("model", "reason"),
    [(ReadsLengths(), "it reads 'lengths' of a batch"), (WaitsForValues(), "it waits for the device (aten._local_")],
    ids=["lengths", "values"],
)
def test_a_model_that_needs_the_host_is_not_recorded(graphed, caplog, model, reason):
    pair, batch = graphed(model), batch_of([1, 2], [3])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            torch.testing.assert_close(pair.model(batch), MeanBySequence()(batch))
    assert pair.recorder.replays == []
    assert reason in pair.model.refusal
    (record,) = caplog.records
    assert f"CUDA graphs are not used: the forward pass cannot be recorded: {reason}" in record.message


def test_a_failing_input_does_not_disable_recordings(graphed):
    pair = graphed(FailsOn(13))
    with pytest.raises(RuntimeError, match="poison"):
        pair.model(batch_of([13]))
    pair.model(batch_of([14]))
    assert pair.recorder.replays == [8]


def test_a_recording_that_does_not_fit_into_memory_is_not_tried_again(graphed, caplog):
    pair = graphed()
    pair.recorder.fails_at = {32: torch.OutOfMemoryError("CUDA out of memory")}
    for _ in range(2):
        for batch in (batch_of([1] * 9), batch_of([2])):
            torch.testing.assert_close(pair.model(batch), MeanBySequence()(batch))
    assert pair.recorder.replays == [8, 8]
    assert [record.message for record in caplog.records] == [
        "MeanBySequence: not enough memory for a CUDA graph of 32 tokens"
    ]


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.sum().item(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: torch.index_put(x, (x > 0,), torch.tensor(1.0)),
        lambda x: x.to("meta"),
        lambda x: x[0].to("meta"),
        lambda x: torch.empty(3, device="meta").copy_(x),
        lambda x: x.to("meta")[torch.tensor([1])],
    ],
    ids=["item", "nonzero", "mask", "select", "put", "copy", "number", "copy_", "index"],
)
def test_operations_that_need_the_host_are_not_recordable(work):
    with RecordableOps(), pytest.raises(NotRecordableError):
        work(torch.ones(3))


def test_other_operations_are_recordable():
    x = torch.eye(3)
    with RecordableOps():
        result = x[torch.tensor([1, 1])].sum() + (x @ x).softmax(0).to(torch.float16)[0, 0]
    assert result > 0


# --- real models ------------------------------------------------------------------------------------------------------


def attention_on_device(query, key, value, batch, spec):
    """Attention that reads only ``cu_seqlens``, as FlashAttention does."""
    rows = torch.arange(len(query))
    sequence = torch.bucketize(rows, batch.cu_seqlens[1:], right=True)
    behind = rows[:, None] - rows
    seen = sequence[:, None] == sequence
    seen = seen & (behind >= 0) if spec.causal else seen
    seen = seen if spec.window is None else seen & (behind.abs() <= spec.window)
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    scores = (torch.einsum("qhd,khd->hqk", query, key) * spec.scale).masked_fill(~seen, -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), value)


@pytest.mark.parametrize("name", ["BertModel", "ModernBertModel", "NomicBertModel", "Qwen3Model", "RobertaModel"])
def test_models_can_be_recorded(tmp_path, name):
    kernels = {"attention": "sdpa", "linear": "torch"}
    with LLM(str(tiny(name, tmp_path / "model")), num_workers=1, dtype="float32", kernels=kernels) as llm:
        model = llm._engine.runner.model  # noqa: SLF001  the module that a runner computes with
        for module in model.modules():
            if isinstance(module, Attention):
                module.kernel = attention_on_device
        graphed = GraphedModel(model, FakeRecorder(), device=CPU, max_length=MAX_LENGTH)
        with torch.inference_mode():
            for lengths in ([3, 5, 5], [1], [20, 1, 7]):
                batch = batch_of(*[range(20, 20 + length) for length in lengths])
                torch.testing.assert_close(graphed(batch), model(batch), rtol=1e-4, atol=1e-5)
    assert graphed.refusal == ""


# --- CUDA -------------------------------------------------------------------------------------------------------------


def test_all_graphs_are_recorded_on_one_stream_of_the_device(cuda):
    """The order of CUDA calls; that they do what is expected can only be tested on a GPU."""
    recorder, outputs = CudaRecorder(torch.device("cuda:1")), iter(range(6))
    recordings = [recorder.record(lambda: cuda.append("work") or next(outputs)) for _ in range(2)]
    warm_up = ["side waits for compute", "on side", "work", "work", "compute waits for side"]
    recording = ["on compute", "record on side with pool, thread_local", "work", "recorded"]
    assert cuda == [*warm_up, *recording] * 2
    assert [recording.output for recording in recordings] == [2, 5]
    recordings[0].replay()
    assert cuda[-1] == "replay"


def test_recorded_graphs_need_a_cuda_device(folder):
    with pytest.raises(InvalidInputError, match="cuda_graphs=True needs a CUDA device; the model is on cpu") as caught:
        LLM(str(folder), device="cpu", cuda_graphs=True)
    assert caught.value.parameter == "cuda_graphs"
