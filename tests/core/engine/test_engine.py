"""The engine's loop: what a failing batch costs, memory, cancelling, aborting, and where a batch is computed."""

import threading
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.config import EngineConfig
from millpond.engine.budget import SMALLEST_BUDGET, SOON
from millpond.engine.engine import LONG_ENOUGH, Engine
from millpond.engine.runner import Outcome, Runner
from millpond.errors import (
    EngineClosedError,
    EngineError,
    InsufficientMemoryError,
    InvalidInputError,
    NonFiniteOutputError,
    RequestCancelledError,
)

POISON, WORSE = 666, 777


def add_all(engine, requests):
    for request in requests:
        engine.add(request)
    return requests


def numbered(kit, count, **fields):
    """Requests of different lengths, no two alike."""
    return [kit.request([number, *range(number % 13)], **fields) for number in range(count)]


def run_all(kit, engine, requests):
    """Run requests to their end, each of which must end once."""
    ended = kit.drain(engine) if add_all(engine, requests) else []
    assert len(ended) == len(requests)
    assert set(ended) == set(requests)
    return requests


# --- the loop ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_every_request_ends_once_with_its_own_result(kit, make_engine, num_workers):
    engine = make_engine(num_workers, max_num_batched_tokens=100)
    kit.check(run_all(kit, engine, numbered(kit, 200)))
    assert not engine.has_work


def test_a_step_without_work_returns_at_once(make_engine):
    engine = make_engine()
    assert not engine.has_work
    assert engine.step() == []


def test_a_step_that_may_not_block_does_not(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine()
    engine.add(kit.request([1]))
    assert engine.step(block=False) == []
    gate.wait()
    assert (engine.has_work, engine.has_waiting, engine.is_full) == (True, False, True)
    assert engine.step(block=False) == []
    gate.open()
    kit.check(engine.step())
    assert (engine.has_work, engine.is_full) == (False, False)


def test_a_step_launches_a_batch_on_each_idle_worker(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(3, max_num_seqs=1)
    add_all(engine, numbered(kit, 4))
    engine.step(block=False)
    gate.wait(3)
    assert gate.nobody_came()
    assert (engine.is_full, engine.has_waiting) == (True, True)


def test_a_finished_worker_gets_the_next_batch_while_another_still_computes(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(2, max_num_seqs=1)
    requests = add_all(engine, numbered(kit, 3))
    engine.step(block=False)
    gate.wait(2)
    gate.let_pass()
    ended = engine.step()
    assert len(ended) == 1
    engine.step(block=False)
    gate.wait()
    gate.open()
    ended += kit.drain(engine)
    assert set(ended) == set(requests)


def test_requests_added_while_a_batch_runs_share_the_next(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine()
    engine.add(kit.request([0]))
    engine.step(block=False)
    gate.wait()
    add_all(engine, [kit.request([number], group=("text", "image")[number % 2]) for number in range(1, 301)])
    gate.open()
    kit.check(kit.drain(engine))
    assert len(model.seen) == 3


def test_the_batch_of_lower_priority_runs_first(kit, model, make_engine):
    engine = make_engine(max_num_seqs=1)
    run_all(kit, engine, [kit.request([number], priority=number % 3) for number in range(6)])
    assert [sequences[0][0] for sequences in model.seen] == [0, 3, 1, 4, 2, 5]


def test_who_waits_for_a_batch_is_notified_when_it_is_done(kit, make_runner):
    notified = threading.Event()
    engine = Engine(make_runner(), EngineConfig(), notify=notified.set)
    engine.add(kit.request([1]))
    engine.step(block=False)
    assert notified.wait(kit.patience)
    kit.check(engine.step(block=False) or engine.step())


def test_stats_count_what_was_done(kit, model, make_engine):
    model.on_forward, model.nan_at = kit.fails_on(POISON), WORSE
    engine = make_engine(max_num_seqs=2)
    cancelled = kit.request([5, 5, 5])
    cancelled.cancel()
    run_all(kit, engine, [kit.request([1, 2]), kit.request([WORSE]), kit.request([POISON, 1]), kit.request([3])])
    run_all(kit, engine, [cancelled])
    stats = engine.stats
    assert (stats.requests, stats.failures, stats.tokens) == (5, 2, 4)
    assert stats.batches == len(model.seen) == 4


# --- failing batches --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("place", [0, 31, 63])
def test_a_poison_among_64_fails_alone_and_costs_few_forwards(kit, model, make_engine, num_workers, place):
    engine = make_engine(num_workers)
    clean = run_all(kit, engine, numbered(kit, 64))
    forwards = len(model.seen)
    model.on_forward = kit.fails_on(POISON)
    requests = numbered(kit, 64)
    requests[place] = kit.request([POISON])
    run_all(kit, engine, requests)
    assert [number for number, request in enumerate(requests) if request.error is not None] == [place]
    assert isinstance(requests[place].error, EngineError)
    assert "RuntimeError: poison" in str(requests[place].error)
    assert isinstance(requests[place].error.__cause__, RuntimeError)
    assert len(model.seen) - forwards <= forwards + 2 * 6
    for request, twin in zip(requests, clean, strict=True):
        assert request.error is not None or request.results[0].tolist() == twin.results[0].tolist()


def test_two_poisons_fail_alone_each_with_its_own_error(kit, model, make_engine):
    def on_forward(sequences):
        kit.fails_on(POISON)(sequences)
        kit.fails_on(WORSE, error=lambda: ValueError("worse"))(sequences)

    model.on_forward = on_forward
    requests = numbered(kit, 64)
    requests[7], requests[50] = kit.request([POISON]), kit.request([WORSE])
    run_all(kit, make_engine(), requests)
    kit.check([request for number, request in enumerate(requests) if number not in (7, 50)])
    assert "poison" in str(requests[7].error)
    assert "worse" in str(requests[50].error)
    assert len(model.seen) <= 1 + 4 * 6


def test_a_whole_batch_of_poison_fails_request_by_request(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    engine = make_engine()
    requests = run_all(kit, engine, [kit.request([POISON, number]) for number in range(64)])
    assert all(isinstance(request.error, EngineError) for request in requests)
    assert len({id(request.error) for request in requests}) == 64
    assert len(model.seen) == 127
    kit.check(run_all(kit, engine, [kit.request([1])]))


def test_equal_poisons_fail_like_different_ones(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    requests = [kit.request([POISON if number in (3, 12) else number]) for number in range(16)]
    run_all(kit, make_engine(), requests)
    assert [number for number, request in enumerate(requests) if request.error] == [3, 12]


def test_a_failing_batch_does_not_fail_those_that_wait_behind_it(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    engine = make_engine(max_num_seqs=8)
    requests = [kit.request([POISON if number == 0 else number]) for number in range(40)]
    kit.check(run_all(kit, engine, requests)[1:])


def test_nan_and_poison_in_one_batch_are_told_apart(kit, model, make_engine):
    model.on_forward, model.nan_at = kit.fails_on(POISON), WORSE
    requests = run_all(kit, make_engine(), [kit.request([number]) for number in (1, WORSE, 2, POISON, 3)])
    assert isinstance(requests[1].error, NonFiniteOutputError)
    assert "poison" in str(requests[3].error)
    kit.check([requests[0], requests[2], requests[4]])


def test_a_pooler_that_fails_on_one_request_fails_it_alone(kit, make_engine):
    """The poison may be what is asked for: the other requests of the same sequence are served."""
    engine = make_engine()
    bad = kit.request([5], tasks=["no such task"])
    good = [kit.request([number]) for number in range(8)]
    run_all(kit, engine, [*good[:4], bad, *good[4:]])
    assert isinstance(bad.error, EngineError)
    kit.check(good)


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, RecursionError])
def test_whatever_a_model_raises_becomes_the_requests_error(kit, model, make_engine, error):
    model.on_forward = kit.fails_on(POISON, error=lambda: error("out"))
    requests = run_all(kit, make_engine(2), [kit.request([number]) for number in (1, POISON, 2)])
    assert isinstance(requests[1].error, EngineError)
    assert error.__name__ in str(requests[1].error)
    kit.check([requests[0], requests[2]])


def test_an_error_that_a_model_raises_on_purpose_is_passed_on_as_it_is(kit, model, make_engine):
    refusal = InvalidInputError("no such segment")
    model.on_forward = kit.fails_on(POISON, error=lambda: refusal)
    (request,) = run_all(kit, make_engine(), [kit.request([POISON])])
    assert request.error is refusal


@pytest.fixture(scope="module")
def pools(kit):
    """A model and its runner for each number of workers, made once, for hypothesis runs a test many times."""
    models = {num_workers: kit.model() for num_workers in (1, 2, 3)}
    runners = {n: Runner(model, device=torch.device("cpu"), num_workers=n) for n, model in models.items()}
    yield lambda num_workers: (models[num_workers], runners[num_workers])
    for runner in runners.values():
        runner.close()


@settings(deadline=None, max_examples=40)
@given(
    tokens=st.lists(st.integers(0, 30), min_size=1, max_size=40),
    bad=st.sets(st.integers(0, 30), max_size=6),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40)),
)
def test_exactly_those_that_cannot_be_computed_fail(kit, pools, tokens, bad, shape):
    num_workers, budget = shape
    model, runner = pools(num_workers)
    model.on_forward = kit.fails_on(*bad)
    engine = Engine(runner, EngineConfig(max_num_batched_tokens=budget, max_num_seqs=9))
    requests = run_all(kit, engine, [kit.request([token] * (1 + token % 3)) for token in tokens])
    assert [request.error is not None for request in requests] == [token in bad for token in tokens]
    kit.check([request for request in requests if request.error is None])


# --- memory -----------------------------------------------------------------------------------------------------------


def out_of_memory(kind):
    return {
        "accelerator": torch.OutOfMemoryError("CUDA out of memory"),
        "python": MemoryError(),
        "cpu": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    }[kind]


def holds(most, error, failed=None):
    """A machine whose memory holds so many tokens."""

    def on_forward(sequences):
        if sum(map(len, sequences)) > most:
            if failed is not None:
                failed.append(sequences)
            raise error

    return on_forward


def tens(kit, count):
    return [kit.request([number] * 10) for number in range(count)]


@pytest.mark.parametrize("kind", ["accelerator", "python", "cpu"])
def test_out_of_memory_halves_the_budget_until_all_succeed(kit, model, make_engine, kind):
    failed = []
    model.on_forward = holds(1000, out_of_memory(kind), failed)
    engine = make_engine(max_num_batched_tokens=4096)
    kit.check(run_all(kit, engine, tens(kit, 409)))
    assert 256 <= engine.scheduler.max_num_batched_tokens <= 1000
    failed.clear()
    kit.check(run_all(kit, engine, tens(kit, 409)))
    assert failed == []


def test_batches_that_run_out_of_memory_side_by_side_halve_the_budget_once(kit, model, make_engine, gate):
    def on_forward(sequences):
        gate()
        holds(2048, MemoryError())(sequences)

    model.on_forward = on_forward
    engine = make_engine(4, max_num_batched_tokens=4000)
    requests = add_all(engine, tens(kit, 1600))
    engine.step(block=False)
    gate.wait(4)
    gate.open()
    kit.check(kit.drain(engine))
    assert all(request.results for request in requests)
    assert engine.scheduler.max_num_batched_tokens == 2000


def test_the_budget_is_halved_no_further_than_the_smallest(kit, model, make_engine):
    model.on_forward = holds(9, MemoryError())
    engine = make_engine(max_num_batched_tokens=4096)
    requests = run_all(kit, engine, tens(kit, 100))
    assert all("not enough memory" in str(request.error) for request in requests)
    assert {type(request.error) for request in requests} == {InsufficientMemoryError}
    assert engine.scheduler.max_num_batched_tokens == SMALLEST_BUDGET


def test_out_of_memory_never_raises_a_budget(kit, model, make_engine):
    model.on_forward = holds(30, MemoryError())
    engine = make_engine(max_num_batched_tokens=64)
    kit.check(run_all(kit, engine, tens(kit, 12)))
    assert engine.scheduler.max_num_batched_tokens == 64


def test_one_request_that_is_too_large_for_memory_leaves_the_budget(kit, model, make_engine):
    """No budget would help it: requests after it must not pay for it."""
    model.on_forward = holds(5000, MemoryError())
    engine = make_engine(max_num_batched_tokens=4096)
    for _ in range(5):
        (huge,) = run_all(kit, engine, [kit.request([1] * 6000)])
        assert "not enough memory" in str(huge.error)
    assert engine.scheduler.max_num_batched_tokens == 4096


def test_once_there_is_memory_again_batches_become_as_large_as_before(kit, model, make_engine):
    model.on_forward = holds(1000, MemoryError())
    engine = make_engine(max_num_batched_tokens=4096)
    kit.check(run_all(kit, engine, tens(kit, 409)))
    assert engine.scheduler.max_num_batched_tokens <= 1000
    model.on_forward = lambda _: None
    for _ in range(12 * SOON):
        kit.check(run_all(kit, engine, tens(kit, 1)))
    assert engine.scheduler.max_num_batched_tokens == 4096
    model.seen.clear()
    kit.check(run_all(kit, engine, tens(kit, 1228)))
    assert [sum(map(len, sequences)) for sequences in model.seen] == [4090, 4090, 4090, 10]


def test_what_a_batch_held_that_ran_out_of_memory_is_given_back(kit, model, make_engine):
    """Whoever keeps the error, as an output does, must not keep the rows of all layers with it."""
    held = []

    class Rows:
        def __init__(self):
            held.append(weakref.ref(self))

    def on_forward(_):
        rows = Rows()
        assert rows is not None
        raise MemoryError

    model.on_forward = on_forward
    (request,) = run_all(kit, make_engine(), [kit.request([1])])
    assert isinstance(request.error, InsufficientMemoryError)
    assert request.error.__cause__ is not None
    assert [ref() for ref in held] == [None]


def test_another_failure_leaves_the_budget(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    engine = make_engine(max_num_batched_tokens=4096)
    run_all(kit, engine, [*tens(kit, 50), kit.request([POISON])])
    assert engine.scheduler.max_num_batched_tokens == 4096


# --- cancelling and aborting ------------------------------------------------------------------------------------------


def test_cancelled_before_its_batch_is_dropped_without_a_batch(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine()
    first, dropped, kept = numbered(kit, 3)
    engine.add(first)
    engine.step(block=False)
    gate.wait()
    add_all(engine, [dropped, kept])
    dropped.cancel()
    gate.open()
    assert set(kit.drain(engine)) == {first, dropped, kept}
    assert isinstance(dropped.error, RequestCancelledError)
    kit.check([first, kept])
    assert [len(sequences) for sequences in model.seen] == [1, 1]


def test_a_batch_of_cancelled_requests_is_no_batch(kit, model, make_engine):
    engine = make_engine()
    requests = add_all(engine, numbered(kit, 5))
    for request in requests:
        request.cancel()
    assert set(kit.drain(engine)) == set(requests)
    assert (model.seen, engine.stats.batches) == ([], 0)


def test_cancelled_while_its_batch_runs_ends_with_its_result(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine()
    request = kit.request([1])
    engine.add(request)
    engine.step(block=False)
    gate.wait()
    request.cancel()
    gate.open()
    assert kit.drain(engine) == [request]
    kit.check([request])


def test_cancelled_while_its_batch_fails_is_not_run_again(kit, model, make_engine, gate):
    def on_forward(sequences):
        gate()
        kit.fails_on(POISON)(sequences)

    model.on_forward = on_forward
    engine = make_engine()
    requests = add_all(engine, [kit.request([POISON]), kit.request([1]), kit.request([2]), kit.request([3])])
    engine.step(block=False)
    gate.wait()
    requests[3].cancel()
    gate.open()
    kit.drain(engine)
    assert isinstance(requests[3].error, RequestCancelledError)
    kit.check(requests[1:3])
    assert not any((3,) in sequences for sequences in model.seen[1:])


def test_abort_returns_what_waits_and_what_runs_and_does_not_wait_for_it(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(2, max_num_seqs=1)
    requests = add_all(engine, numbered(kit, 5))
    engine.step(block=False)
    gate.wait(2)
    aborted = engine.abort()
    assert len(aborted) == 5
    assert set(aborted) == set(requests)
    assert (engine.has_work, engine.scheduler.waiting_tokens) == (False, 0)


def test_what_was_aborted_does_not_come_back(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(2, max_num_seqs=1)
    add_all(engine, numbered(kit, 5))
    engine.step(block=False)
    gate.wait(2)
    engine.abort()
    later = add_all(engine, [kit.request([100 + number]) for number in range(4)])
    engine.step(block=False)
    gate.open()
    assert set(kit.drain(engine)) == set(later)
    kit.check(later)
    assert len(model.seen) == 6


def test_abort_forgets_the_halves_of_a_failed_batch(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    engine = make_engine()
    requests = add_all(engine, [kit.request([POISON, number]) for number in range(8)])
    assert engine.step() == []
    assert engine.has_waiting
    assert set(engine.abort()) == set(requests)
    assert not engine.has_work


def test_a_keyboard_interrupt_is_raised_by_the_step(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON, error=KeyboardInterrupt)
    engine = make_engine()
    engine.add(kit.request([POISON]))
    with pytest.raises(KeyboardInterrupt):
        kit.drain(engine)
    engine.abort()
    kit.check(run_all(kit, engine, [kit.request([1])]))


def test_a_closed_engine_takes_no_request(kit, make_engine):
    engine = make_engine()
    engine.close()
    with pytest.raises(EngineClosedError, match="closed"):
        engine.add(kit.request([1]))
    assert not engine.has_work


# --- where a batch is computed ----------------------------------------------------------------------------------------


def here(model):
    """Of each forward, whether it was computed in this thread."""
    return [thread is threading.current_thread() for thread in model.threads]


def test_a_lone_long_sequence_is_computed_in_the_callers_thread_with_all_of_its_threads(
    kit, model, make_engine, three_threads
):
    numbers = []
    model.on_forward = lambda _: numbers.append(torch.get_num_threads())
    kit.check(run_all(kit, make_engine(2), [kit.request([1] * LONG_ENOUGH)]))
    assert (here(model), numbers) == ([True], [three_threads])


def test_a_lone_short_sequence_is_computed_by_a_worker(kit, model, make_engine):
    kit.check(run_all(kit, make_engine(2), [kit.request([1] * (LONG_ENOUGH - 1))]))
    assert here(model) == [False]


def test_two_long_sequences_are_computed_by_workers_side_by_side(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(2, max_num_batched_tokens=LONG_ENOUGH)
    requests = add_all(engine, [kit.request([number] * LONG_ENOUGH) for number in (1, 2)])
    engine.step(block=False)
    gate.wait(2)
    gate.open()
    kit.drain(engine)
    kit.check(requests)
    assert here(model) == [False, False]


def test_a_long_sequence_beside_a_running_batch_is_computed_by_a_worker(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(2)
    engine.add(kit.request([1]))
    engine.step(block=False)
    gate.wait()
    engine.add(kit.request([2] * LONG_ENOUGH))
    engine.step(block=False)
    gate.wait()
    gate.open()
    kit.drain(engine)
    assert here(model) == [False, False]


def test_a_lone_long_poison_fails_like_any_other(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    engine = make_engine(2)
    (request,) = run_all(kit, engine, [kit.request([POISON] * LONG_ENOUGH)])
    assert "poison" in str(request.error)
    assert here(model) == [True]


class Accelerator:
    """Stands for the runner of a device where batches are computed one after the other, in the caller's thread."""

    device = torch.device("cuda")
    num_workers = 1
    is_open = True

    def __init__(self):
        self.batches = []
        self.fails = False

    def run(self, requests):
        self.batches.append(list(requests))
        failed = self.fails and len(requests) > 1
        return Outcome(requests, RuntimeError("kernel") if failed else None)


def test_on_an_accelerator_each_step_returns_the_batch_it_computed(kit):
    """Else the first result waits for the last, and who comes meanwhile is not seen."""
    runner = Accelerator()
    engine = Engine(runner, EngineConfig(max_num_seqs=2))
    requests = add_all(engine, numbered(kit, 6))
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
    requests = add_all(engine, numbered(kit, 4))
    assert set(kit.drain(engine)) == set(requests)
    assert [len(batch) for batch in runner.batches] == [4, 2, 2, 1, 1, 1, 1]
