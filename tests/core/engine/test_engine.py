"""The engine's loop: which batches run when, and that each request ends once with its own result."""

import threading

import pytest

from millpond.engine.engine import Engine
from millpond.types.config import EngineConfig

POISON, WORSE = 666, 777


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_every_request_ends_once_with_its_own_result(kit, make_engine, num_workers):
    engine = make_engine(num_workers, max_num_batched_tokens=100)
    kit.check(kit.run_all(engine, kit.numbered(200)))
    assert engine.num_unfinished == 0


def test_a_step_without_work_returns_at_once(make_engine):
    engine = make_engine()
    assert engine.num_unfinished == 0
    assert engine.step() == []


def test_a_step_that_may_not_block_does_not(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine()
    engine.add(kit.request([1]))
    assert engine.step(block=False) == []
    gate.wait()
    assert (engine.num_unfinished, engine.has_waiting, engine.is_full) == (1, False, True)
    assert engine.step(block=False) == []
    gate.open()
    kit.check(engine.step())
    assert (engine.num_unfinished, engine.is_full) == (0, False)


def test_a_step_launches_a_batch_on_each_idle_worker(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(3, max_num_seqs=1)
    kit.add_all(engine, kit.numbered(4))
    engine.step(block=False)
    gate.wait(3)
    assert gate.no_forward_began()
    assert (engine.is_full, engine.has_waiting) == (True, True)


def test_a_finished_worker_gets_the_next_batch_while_another_still_computes(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(2, max_num_seqs=1)
    requests = kit.add_all(engine, kit.numbered(3))
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
    kit.add_all(engine, [kit.request([number], group=("text", "image")[number % 2]) for number in range(1, 301)])
    gate.open()
    kit.check(kit.drain(engine))
    assert len(model.seen) == 3


def test_the_batch_of_lower_priority_runs_first(kit, model, make_engine):
    engine = make_engine(max_num_seqs=1)
    kit.run_all(engine, [kit.request([number], priority=number % 3) for number in range(6)])
    assert [sequences[0][0] for sequences in model.seen] == [0, 3, 1, 4, 2, 5]


def test_the_waiting_thread_is_notified_when_a_batch_is_done(kit, make_runner):
    notified = threading.Event()
    engine = Engine(make_runner(), EngineConfig(), notify=notified.set)
    engine.add(kit.request([1]))
    engine.step(block=False)
    assert notified.wait(kit.patience)
    kit.check(engine.step(block=False) or engine.step())


def test_stats_count_batches_requests_and_tokens(kit, model, make_engine):
    model.on_forward, model.nan_at = kit.fails_on(POISON), WORSE
    engine = make_engine(max_num_seqs=2)
    cancelled = kit.request([5, 5, 5])
    cancelled.cancel()
    kit.run_all(engine, [kit.request([1, 2]), kit.request([WORSE]), kit.request([POISON, 1]), kit.request([3])])
    kit.run_all(engine, [cancelled])
    stats = engine.stats
    assert (stats.requests, stats.failures, stats.tokens) == (5, 2, 4)
    assert stats.batches == len(model.seen) == 4
