"""Failing inputs are blocked for some time, and other inputs are not."""

import pytest

from millpond.engine.engine import MAX_CONSECUTIVE_INPUT_FAILURES
from millpond.types.errors import BlockedInputError, EngineClosedError, InvalidInputError

POISON = 666


def test_an_input_that_the_model_failed_on_is_blocked(kit, model, blocking):
    model.on_forward = kit.fails_on(POISON)
    thread = blocking.engine()
    kit.run(thread, [kit.request([number or POISON]) for number in range(8)])
    forwards = len(model.seen)
    poison, other = kit.quarantined(thread, [kit.request([POISON]), kit.request([5])])
    assert isinstance(poison.error, BlockedInputError)
    assert "not tried again for 3600 s" in str(poison.error)
    kit.check([other])
    assert len(model.seen) == forwards + 1
    assert (thread.waiting_tokens, thread.pending) == (0, 0)
    model.on_forward = lambda _: None
    blocking.failing_inputs.seconds_left = lambda _: 0.0  # its time is over
    kit.check(kit.run(thread, [kit.request([POISON])]))


def test_only_a_few_inputs_are_blocked_if_the_model_fails_on_all(kit, model, blocking):
    model.on_forward = kit.fails_on(*range(64))
    thread = blocking.engine()
    kit.run(thread, [kit.request([number]) for number in range(64)])
    assert len(blocking.failing_inputs) == MAX_CONSECUTIVE_INPUT_FAILURES
    model.on_forward = lambda _: None
    kit.check(kit.run(thread, [kit.request([number]) for number in range(MAX_CONSECUTIVE_INPUT_FAILURES, 64)]))
    model.on_forward = kit.fails_on(POISON)
    kit.run(thread, [kit.request([POISON])])
    assert len(blocking.failing_inputs) == MAX_CONSECUTIVE_INPUT_FAILURES + 1


@pytest.mark.parametrize("error", [MemoryError, lambda: InvalidInputError("no")])
def test_inputs_that_were_refused_are_not_blocked(kit, model, blocking, error):
    model.on_forward = kit.fails_on(POISON, error=error)
    thread = blocking.engine()
    assert kit.run(thread, [kit.request([POISON])])[0].error
    model.on_forward = lambda _: None
    kit.check(kit.run(thread, [kit.request([POISON])]))


def test_the_cause_is_found_in_a_batch_that_crashed_the_engine(kit, model, blocking, deaths):
    model.on_forward = kit.fails_on(POISON, error=KeyboardInterrupt)
    first = blocking.engine()
    kit.run(first, [kit.request([number]) for number in (1, POISON, 2)])
    second = blocking.engine()
    kit.check(kit.run(second, [kit.request([1])]))
    assert isinstance(kit.run(second, [kit.request([POISON])])[0].error, EngineClosedError)
    third = blocking.engine()
    (poison,) = kit.quarantined(third, [kit.request([POISON])])
    assert isinstance(poison.error, BlockedInputError)
    kit.check(kit.run(third, [kit.request([1]), kit.request([2])]))
    for engine in (first, second, third):
        engine.close()  # waits for its thread
    assert len(deaths) == 2


def test_inputs_of_a_hanging_batch_are_blocked_until_it_has_ended(kit, model, blocking, gate):
    model.on_forward = gate
    thread = blocking.engine()
    first = kit.request([1])
    thread.submit([first])
    gate.wait()
    for _ in range(3):
        thread.abandon(thread.engine.running[0], "it hangs", may_be_cause=True)
    (again,) = kit.quarantined(thread, [kit.request([1])])
    assert isinstance(again.error, BlockedInputError)
    gate.open()
    kit.check(kit.run(thread, [kit.request([2])]))
    kit.check(kit.run(thread, [kit.request([1])]))
