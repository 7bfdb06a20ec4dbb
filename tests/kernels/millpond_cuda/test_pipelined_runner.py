"""Batches in flight: copies that overlap with computation, memory that is used again, errors and shutdown."""

import threading
from contextlib import nullcontext
from queue import SimpleQueue

import numpy as np
import pytest
import torch
from engine_kit import on_worker
from fake_streams import FakeStreams

from millpond.engine.engine import Engine
from millpond.nn import PackedBatch
from millpond.types.config import EngineConfig
from millpond.types.errors import NonFiniteOutputError
from millpond.types.params import PoolingParams
from millpond_cuda.pipelined_runner import PipelinedRunner
from millpond_cuda.transfers import BatchTransfers, CudaStreams

CPU = torch.device("cpu")
POISON = 999


@pytest.fixture
def streams(closing):
    streams = FakeStreams()
    closing.callback(streams.may_pass.set)
    return streams


@pytest.fixture
def make_pipelined(model, streams, closing):
    def make(max_in_flight=2):
        runner = PipelinedRunner(model, streams, device=CPU, max_in_flight=max_in_flight)
        closing.callback(runner.close)
        closing.callback(streams.may_pass.set)
        return runner

    return make


@pytest.fixture
def make_accelerated(make_pipelined):
    """Return a function that creates engines whose runner has a fake device."""

    def make(max_in_flight=2, **config):
        runner = make_pipelined(max_in_flight)
        runner.device = torch.device("cuda")  # batches are packed on the host all the same
        return Engine(runner, EngineConfig(**config))

    return make


def submit_all(runner, *batches):
    outcomes = SimpleQueue()
    for batch in batches:
        runner.submit(list(batch), outcomes.put)
    return outcomes


def ended(kit, outcomes, count):
    return [outcomes.get(timeout=kit.patience) for _ in range(count)]


# --- results ----------------------------------------------------------------------------------------------------------


def test_results_are_those_of_the_runner(kit, make_runner, make_pipelined):
    params = [PoolingParams(), PoolingParams(dimensions=2)]
    tasks = [["embed"], ["token_embed"], ["embed", "token_embed"]]

    def requests():
        return [
            kit.request(range(n, n + 1 + n % 7), tasks=tasks[n % 3], params=params[n % 2], types=types)
            for n in range(12)
            for types in (None, [1] * (1 + n % 7))
        ]

    expected, actual = requests(), requests()
    make_runner().run(expected)
    assert on_worker(make_pipelined(), *actual).error is None
    for one, other in zip(expected, actual, strict=True):
        assert len(one.results) == len(other.results) > 0
        for left, right in zip(one.results, other.results, strict=True):
            np.testing.assert_array_equal(left, right)


def test_results_do_not_change_when_later_batches_use_the_memory_again(kit, make_pipelined):
    runner, requests = make_pipelined(), kit.numbered(40)
    for request in requests:
        assert on_worker(runner, request).error is None
    kit.check(requests)


def test_bfloat16_is_returned_as_float32(kit, model, make_pipelined):
    model.dtype = torch.bfloat16
    request = kit.request([1, 3], tasks=["embed", "token_embed"])
    on_worker(make_pipelined(), request)
    assert [array.dtype for array in request.results] == [np.float32] * 2
    np.testing.assert_array_equal(request.results[1][:, 0], [1, 3])


def test_nan_fails_only_its_request(kit, model, make_pipelined):
    model.nan_at = 13
    bad, good = kit.request([13]), kit.request([14])
    assert on_worker(make_pipelined(), bad, good).error is None
    assert isinstance(bad.error, NonFiniteOutputError)
    kit.check([good])


# --- order ------------------------------------------------------------------------------------------------------------


def test_a_batch_is_launched_before_the_previous_one_has_ended(kit, streams, make_pipelined):
    streams.may_pass.clear()
    first, second = kit.request([1]), kit.request([2])
    outcomes = submit_all(make_pipelined(), [first], [second])
    assert streams.log == ["in", "out", "mark 1", "in", "out", "mark 2"]
    assert outcomes.empty()
    streams.may_pass.set()
    assert [outcome.requests for outcome in ended(kit, outcomes, 2)] == [[first], [second]]
    assert streams.log[6:] == ["passed 1", "passed 2"]
    kit.check([first, second])


def test_a_batch_over_the_limit_waits_until_one_has_ended(kit, streams, make_pipelined):
    streams.may_pass.clear()
    runner, outcomes, launched = make_pipelined(2), SimpleQueue(), threading.Event()

    def submit_three():
        for number in range(3):
            runner.submit([kit.request([number])], outcomes.put)
        launched.set()

    thread = threading.Thread(target=submit_three)
    thread.start()
    while "mark 2" not in streams.log:
        assert thread.is_alive()
    assert not launched.wait(0.05)
    assert streams.log.count("in") == 2
    streams.may_pass.set()
    ended(kit, outcomes, 3)
    thread.join(kit.patience)
    assert streams.log.index("passed 1") < streams.log.index("mark 3")


def test_results_of_several_tasks_are_awaited_once(kit, streams, make_pipelined):
    on_worker(make_pipelined(), *[kit.request([n], tasks=["embed", "token_embed"]) for n in range(5)])
    assert streams.log == ["in", "out", "out", "mark 1", "passed 1"]


# --- errors and shutdown ----------------------------------------------------------------------------------------------


def test_a_batch_that_cannot_be_launched_fails_alone(kit, model, streams, make_pipelined):
    """Its memory is used again only after the copy to the device, which had started."""
    model.on_forward = kit.fails_on(POISON)
    batches = [[kit.request([1])], [kit.request([POISON])], [kit.request([2])], [kit.request([3])]]
    outcomes = ended(kit, submit_all(make_pipelined(), *batches), 4)
    assert [str(outcome.error or "") for outcome in outcomes] == ["", "poison", "", ""]
    assert batches[1][0].results == []
    assert "passed 2" in streams.log
    kit.check([batches[0][0], batches[2][0], batches[3][0]])


def test_an_error_of_the_device_fails_the_batch_that_waits_for_it(kit, streams, make_pipelined):
    streams.fails_at = {2}
    requests = [kit.request([number]) for number in range(4)]
    outcomes = ended(kit, submit_all(make_pipelined(), *[[request] for request in requests]), 4)
    assert ["illegal memory access" in str(outcome.error) for outcome in outcomes] == [False, True, False, False]
    assert requests[1].results == []
    kit.check([requests[0], *requests[2:]])


def test_a_device_that_cannot_place_a_mark_fails_the_batch(kit, streams, make_pipelined, monkeypatch):
    def lost():
        raise RuntimeError("device lost")

    runner = make_pipelined()
    with monkeypatch.context() as patch:
        patch.setattr(streams, "mark", lost)
        assert str(on_worker(runner, kit.request([1])).error) == "device lost"
    request = kit.request([2])
    on_worker(runner, request)
    kit.check([request])


def test_refused_requests_alone_need_no_copy(kit, model, streams, make_pipelined):
    request = kit.request([1])
    request.representations = ()
    assert on_worker(make_pipelined(), request).error is None
    assert streams.log == ["in", "mark 1", "passed 1"]


def test_closing_waits_for_the_batches_in_flight(kit, streams, make_pipelined):
    streams.may_pass.clear()
    runner, requests = make_pipelined(), [kit.request([1]), kit.request([2])]
    outcomes = submit_all(runner, *[[request] for request in requests])
    closer = threading.Thread(target=runner.close)
    closer.start()
    streams.may_pass.set()
    closer.join(kit.patience)
    assert outcomes.qsize() == 2
    kit.check(requests)


# --- engine -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_in_flight", [2, 3])
def test_an_engine_computes_all_requests(kit, make_accelerated, max_in_flight):
    engine = make_accelerated(max_in_flight, max_num_seqs=4)
    kit.check(kit.run_all(engine, kit.numbered(50)))
    assert engine.stats.batches == 13


def test_waiting_requests_are_not_divided_among_batches_in_flight(kit, model, make_accelerated):
    """Half a batch takes a device nearly as long as a whole one."""
    kit.run_all(make_accelerated(2, max_num_batched_tokens=4096), [kit.request([number] * 100) for number in range(20)])
    assert len(model.seen) == 1


def test_a_lone_batch_is_computed_without_the_worker(kit, streams, make_accelerated):
    kit.check(kit.run_all(make_accelerated(2), kit.numbered(1)))
    assert streams.log == []


def test_a_failing_input_is_found_among_batches_in_flight(kit, model, make_accelerated):
    model.on_forward = kit.fails_on(POISON)
    requests = [*kit.numbered(20), kit.request([POISON]), *kit.numbered(20)]
    kit.run_all(make_accelerated(2, max_num_seqs=8), requests)
    assert "poison" in str(requests[20].error)
    kit.check([request for request in requests if request is not requests[20]])


# --- copies -----------------------------------------------------------------------------------------------------------


def test_a_batch_on_the_device_has_the_tensors_of_the_host(streams):
    sequences = [torch.tensor([5, 6]), torch.tensor([7, 8, 9])]
    packed = PackedBatch.pack(sequences, token_type_ids=[None, torch.tensor([1, 1, 0])])
    copied = BatchTransfers(streams).copy_batch(packed)
    for name in ("input_ids", "positions", "token_type_ids", "cu_seqlens"):
        torch.testing.assert_close(getattr(copied, name), getattr(packed, name), rtol=0, atol=0)
    assert copied.ids_on_host is packed.input_ids
    assert (copied.lengths, copied.num_tokens) == (packed.lengths, 5)
    assert streams.log == ["in"]


def test_memory_grows_to_the_largest_batch_and_is_used_again(streams, monkeypatch):
    sizes = []
    allocate = streams.allocate
    monkeypatch.setattr(streams, "allocate", lambda size: sizes.append(size) or allocate(size))
    transfers = BatchTransfers(streams)
    for length in (10, 300, 20, 300, 1):
        transfers.copy_batch(PackedBatch.pack([torch.arange(length)]))
        transfers.mark().synchronize()
    assert sizes == [0, 0, 1024, 8192]


class FakeStream:
    """A stream of CUDA that logs what it waits for."""

    log: list[str]

    def __init__(self, name="", *_):
        self.name = str(name)

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")


def test_cuda_streams_wait_for_each_other(monkeypatch):
    """The order of CUDA calls; that they do what is expected can only be tested on a GPU."""
    log = FakeStream.log = []
    names = iter(["incoming", "outgoing"] * 2)
    compute = FakeStream("compute")

    class FakeEvent:
        def __init__(self, *, blocking):
            assert blocking

        def record(self, stream):
            log.append(f"event on {stream.name}")

    monkeypatch.setattr(torch.cuda, "Stream", lambda _: FakeStream(next(names)))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: compute)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: log.append(f"on {stream.name}") or nullcontext())
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda _, stream: log.append(f"kept for {stream.name}"))
    streams, target = CudaStreams(CPU), torch.zeros(3)
    assert streams.copy_in(torch.ones(3)).tolist() == [1, 1, 1]
    assert log == ["on incoming", "compute waits for incoming", "kept for compute"]
    log.clear()
    streams.copy_out(torch.ones(3), target)
    assert log == ["outgoing waits for compute", "on outgoing", "kept for outgoing"]
    assert target.tolist() == [1, 1, 1]
    log.clear()
    streams.mark()
    assert log == ["outgoing waits for incoming", "outgoing waits for compute", "event on outgoing"]
    log.clear()
    CudaStreams(torch.device("cuda")).copy_out(torch.full((3,), 2.0), target)
    assert log == [], "a result that is on the host already needs no stream"
    assert target.tolist() == [2, 2, 2]
