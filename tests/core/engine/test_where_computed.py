"""The thread that computes a batch: a worker, or the calling thread for long sequences and on accelerators."""

import threading

import pytest
import torch

from millpond.engine.engine import MULTI_THREAD_MIN_TOKENS, Engine
from millpond.engine.runner import Outcome
from millpond.types.config import EngineConfig

POISON = 666


def here(model):
    """Return True for each forward pass in this thread."""
    return [thread is threading.current_thread() for thread in model.threads]


def test_a_single_long_sequence_is_computed_in_the_calling_thread_with_all_threads(
    kit, model, make_engine, three_threads
):
    numbers = []
    model.on_forward = lambda _: numbers.append(torch.get_num_threads())
    kit.check(kit.run_all(make_engine(2), [kit.request([1] * MULTI_THREAD_MIN_TOKENS)]))
    assert (here(model), numbers) == ([True], [three_threads])


def test_a_single_short_sequence_is_computed_by_a_worker(kit, model, make_engine):
    kit.check(kit.run_all(make_engine(2), [kit.request([1] * (MULTI_THREAD_MIN_TOKENS - 1))]))
    assert here(model) == [False]


def single_inline(runner):
    """Return an engine that computes a single batch in the calling thread."""
    return Engine(runner, EngineConfig())


@pytest.fixture
def one_thread():
    """Let torch use one thread in this thread, so that runners of the test see one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_single_batch_is_computed_in_the_callers_thread(kit, model, one_thread, make_runner):
    kit.check(kit.run_all(single_inline(make_runner(2)), [kit.request([1]), kit.request([2, 3])]))
    assert here(model) == [True]


def test_with_several_threads_a_single_short_batch_is_computed_by_a_worker(kit, model, three_threads, make_runner):
    kit.check(kit.run_all(single_inline(make_runner(2)), [kit.request([1])]))
    assert here(model) == [False]


def test_a_batch_is_computed_by_a_worker_while_another_batch_runs(kit, model, one_thread, make_runner, gate):
    model.on_forward = gate
    engine = Engine(make_runner(2), EngineConfig(max_num_seqs=1))
    requests = kit.add_all(engine, [kit.request([1]), kit.request([2])])
    engine.step(block=False)
    gate.wait(2)
    gate.open()
    kit.drain(engine)
    kit.check(requests)
    assert sorted(here(model)) == [False, False]


def test_a_single_failing_input_fails_in_the_callers_thread_as_on_a_worker(kit, model, one_thread, make_runner):
    model.on_forward = kit.fails_on(POISON)
    good, bad = kit.run_all(single_inline(make_runner(1)), [kit.request([1]), kit.request([POISON])])
    assert (good.error, "poison" in str(bad.error)) == (None, True)


def test_two_long_sequences_are_computed_by_workers_side_by_side(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(2, max_num_batched_tokens=MULTI_THREAD_MIN_TOKENS)
    requests = kit.add_all(engine, [kit.request([number] * MULTI_THREAD_MIN_TOKENS) for number in (1, 2)])
    engine.step(block=False)
    gate.wait(2)
    gate.open()
    kit.drain(engine)
    kit.check(requests)
    assert here(model) == [False, False]


def test_a_long_sequence_is_computed_by_a_worker_while_a_batch_runs(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(2)
    engine.add(kit.request([1]))
    engine.step(block=False)
    gate.wait()
    engine.add(kit.request([2] * MULTI_THREAD_MIN_TOKENS))
    engine.step(block=False)
    gate.wait()
    gate.open()
    kit.drain(engine)
    assert here(model) == [False, False]


def test_a_single_long_failing_input_fails_like_any_other(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    engine = make_engine(2)
    (request,) = kit.run_all(engine, [kit.request([POISON] * MULTI_THREAD_MIN_TOKENS)])
    assert "poison" in str(request.error)
    assert here(model) == [True]


class Accelerator:
    """Fake runner of a device that computes one batch at a time, in the calling thread."""

    device = torch.device("cuda")
    num_workers = 1
    inline_threads = 1
    crash = None

    def __init__(self):
        self.batches = []
        self.fails = False

    def run(self, requests):
        self.batches.append(list(requests))
        failed = self.fails and len(requests) > 1
        return Outcome(requests, RuntimeError("kernel") if failed else None)


def test_on_an_accelerator_each_step_returns_the_batch_it_computed(kit):
    """Otherwise the first result would wait for the last one, and new requests would not be seen."""
    runner = Accelerator()
    engine = Engine(runner, EngineConfig(max_num_seqs=2))
    requests = kit.add_all(engine, kit.numbered(6))
    assert engine.step(block=False) == requests[:2]
    urgent = kit.request([9], priority=-1)
    engine.add(urgent)
    assert engine.step() == [urgent, requests[2]]
    assert kit.drain(engine) == requests[3:]
    assert engine.stats.requests == 7


def test_on_an_accelerator_a_failing_batch_is_run_again_in_halves(kit):
    runner = Accelerator()
    runner.fails = True
    engine = Engine(runner, EngineConfig())
    requests = kit.add_all(engine, kit.numbered(4))
    assert set(kit.drain(engine)) == set(requests)
    assert [len(batch) for batch in runner.batches] == [4, 2, 2, 1, 1, 1, 1]
