"""Cancelled requests and a stopping engine: cancel, abort, interrupts, close."""

import pytest

from millpond.types.errors import EngineClosedError, RequestCancelledError

POISON = 666


def test_cancelled_before_its_batch_is_dropped_without_a_batch(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine()
    first, dropped, kept = kit.numbered(3)
    engine.add(first)
    engine.step(block=False)
    gate.wait()
    kit.add_all(engine, [dropped, kept])
    dropped.cancel()
    gate.open()
    assert set(kit.drain(engine)) == {first, dropped, kept}
    assert isinstance(dropped.error, RequestCancelledError)
    kit.check([first, kept])
    assert [len(sequences) for sequences in model.seen] == [1, 1]


def test_a_batch_of_cancelled_requests_is_not_computed(kit, model, make_engine):
    engine = make_engine()
    requests = kit.add_all(engine, kit.numbered(5))
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
    requests = kit.add_all(engine, [kit.request([POISON]), kit.request([1]), kit.request([2]), kit.request([3])])
    engine.step(block=False)
    gate.wait()
    requests[3].cancel()
    gate.open()
    kit.drain(engine)
    assert isinstance(requests[3].error, RequestCancelledError)
    kit.check(requests[1:3])
    assert not any((3,) in sequences for sequences in model.seen[1:])


class CancelledMeanwhile:
    """The state of a request that another thread cancels after it was read once."""

    def __init__(self, state):
        vars(self).update(priority=state.priority, ticket=0, prefix=None, reads=0)

    @property
    def cancelled(self):
        self.reads += 1
        return self.reads > 1


@pytest.mark.parametrize("drop", [True, False])
def test_a_request_that_is_cancelled_meanwhile_is_not_lost(kit, make_engine, drop):
    engine = make_engine()
    first, second, third = kit.add_all(engine, [kit.request([number]) for number in range(3)])
    second.state = CancelledMeanwhile(second.state)
    third.cancel()
    ended = engine.drop_cancelled() if drop else []
    assert {*ended, *kit.drain(engine)} == {first, second, third}


def test_abort_returns_waiting_and_running_requests_without_waiting_for_them(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(2, max_num_seqs=1)
    requests = kit.add_all(engine, kit.numbered(5))
    engine.step(block=False)
    gate.wait(2)
    aborted = engine.abort()
    assert len(aborted) == 5
    assert set(aborted) == set(requests)
    assert (engine.num_unfinished, engine.scheduler.waiting_tokens) == (0, 0)


def test_results_of_aborted_requests_are_dropped(kit, model, make_engine, gate):
    model.on_forward = gate
    engine = make_engine(2, max_num_seqs=1)
    kit.add_all(engine, kit.numbered(5))
    engine.step(block=False)
    gate.wait(2)
    engine.abort()
    later = kit.add_all(engine, [kit.request([100 + number]) for number in range(4)])
    engine.step(block=False)
    gate.open()
    assert set(kit.drain(engine)) == set(later)
    kit.check(later)
    assert len(model.seen) == 6


def test_abort_forgets_the_halves_of_a_failed_batch(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    engine = make_engine()
    requests = kit.add_all(engine, [kit.request([POISON, number]) for number in range(8)])
    assert engine.step() == []
    assert engine.has_waiting
    assert set(engine.abort()) == set(requests)
    assert engine.num_unfinished == 0


def test_a_keyboard_interrupt_is_raised_by_the_step(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON, error=KeyboardInterrupt)
    engine = make_engine()
    engine.add(kit.request([POISON]))
    with pytest.raises(KeyboardInterrupt):
        kit.drain(engine)
    engine.abort()
    kit.check(kit.run_all(engine, [kit.request([1])]))


def test_a_closed_engine_accepts_no_request(kit, make_engine):
    engine = make_engine()
    engine.close()
    with pytest.raises(EngineClosedError, match="closed"):
        engine.add(kit.request([1]))
    assert engine.num_unfinished == 0
