"""Failing inputs are blocked for some time, and other inputs are not."""

import pytest

from millpond.engine.background import BackgroundEngine
from millpond.engine.engine import MAX_CONSECUTIVE_INPUT_FAILURES
from millpond.engine.failing_inputs import FailingInputs
from millpond.types.config import EngineConfig
from millpond.types.errors import BlockedInputError, EngineClosedError, InvalidInputError

POISON = 666


def test_an_input_that_the_model_failed_on_is_blocked(kit, model, make_thread):
    model.on_forward = kit.fails_on(POISON)
    thread = make_thread(1)
    thread.failing_inputs.seconds = kit.hour
    kit.run(thread, [kit.request([number or POISON]) for number in range(8)])
    forwards = len(model.seen)
    poison, other = kit.quarantined(thread, [kit.request([POISON]), kit.request([5])])
    assert isinstance(poison.error, BlockedInputError)
    assert "not tried again for 3600 s" in str(poison.error)
    kit.check([other])
    assert len(model.seen) == forwards + 1
    assert (thread.waiting_tokens, thread.pending) == (0, 0)
    model.on_forward = lambda _: None
    thread.failing_inputs.seconds_left = lambda _: 0.0  # its time is over
    kit.check(kit.run(thread, [kit.request([POISON])]))


def test_only_a_few_inputs_are_blocked_if_the_model_fails_on_all(kit, model, make_thread):
    model.on_forward = kit.fails_on(*range(64))
    thread = make_thread(1)
    thread.failing_inputs.seconds = kit.hour
    kit.run(thread, [kit.request([number]) for number in range(64)])
    assert len(thread.failing_inputs) == MAX_CONSECUTIVE_INPUT_FAILURES
    model.on_forward = lambda _: None
    kit.check(kit.run(thread, [kit.request([number]) for number in range(MAX_CONSECUTIVE_INPUT_FAILURES, 64)]))
    model.on_forward = kit.fails_on(POISON)
    kit.run(thread, [kit.request([POISON])])
    assert len(thread.failing_inputs) == MAX_CONSECUTIVE_INPUT_FAILURES + 1


@pytest.mark.parametrize("error", [MemoryError, lambda: InvalidInputError("no")])
def test_inputs_that_were_refused_are_not_blocked(kit, model, make_thread, error):
    model.on_forward = kit.fails_on(POISON, error=error)
    thread = make_thread(1)
    thread.failing_inputs.seconds = kit.hour
    assert kit.run(thread, [kit.request([POISON])])[0].error
    model.on_forward = lambda _: None
    kit.check(kit.run(thread, [kit.request([POISON])]))


def test_the_cause_is_found_in_a_batch_that_crashed_the_engine(kit, model, make_runner, make_thread, deaths):
    model.on_forward = kit.fails_on(POISON, error=KeyboardInterrupt)
    thread = make_thread(1)
    thread.failing_inputs.seconds = kit.hour
    kit.run(thread, [kit.request([number]) for number in (1, POISON, 2)])

    def restarted():
        return BackgroundEngine(make_runner(1), EngineConfig(), thread.failing_inputs)

    second = restarted()
    kit.check(kit.run(second, [kit.request([1])]))
    assert isinstance(kit.run(second, [kit.request([POISON])])[0].error, EngineClosedError)
    third = restarted()
    (poison,) = kit.quarantined(third, [kit.request([POISON])])
    assert isinstance(poison.error, BlockedInputError)
    kit.check(kit.run(third, [kit.request([1]), kit.request([2])]))
    for engine in (thread, second, third):
        engine.close()  # waits for its thread
    assert len(deaths) == 2


def test_empty_failing_inputs_are_taken_over_too(make_runner):
    empty = FailingInputs(60.0)
    successor = BackgroundEngine(make_runner(1), EngineConfig(), empty)
    successor.close()
    assert successor.failing_inputs is empty
