"""What a model failed on is not tried again for a while, and nothing else is held to have caused it."""

import pytest

from millpond.engine.background import BackgroundEngine
from millpond.engine.engine import MAX_CONSECUTIVE_INPUT_FAILURES
from millpond.engine.failing_inputs import FailingInputs
from millpond.types.config import EngineConfig
from millpond.types.errors import BlockedInputError, EngineClosedError, InvalidInputError

POISON = 666


def test_what_the_model_has_failed_on_is_not_tried_again(kit, model, make_thread):
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


def test_where_the_model_fails_on_all_few_are_held_to_have_caused_it(kit, model, make_thread):
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
def test_what_is_no_fault_of_the_model_may_be_tried_again(kit, model, make_thread, error):
    model.on_forward = kit.fails_on(POISON, error=error)
    thread = make_thread(1)
    thread.failing_inputs.seconds = kit.hour
    assert kit.run(thread, [kit.request([POISON])])[0].error
    model.on_forward = lambda _: None
    kit.check(kit.run(thread, [kit.request([POISON])]))


def test_of_a_batch_that_killed_the_engine_the_culprit_is_found(kit, model, make_runner, make_thread, deaths):
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
    third.close()
    assert len(deaths) == 2


def test_failing_inputs_that_are_empty_are_taken_over_too(make_runner):
    empty = FailingInputs(60.0)
    successor = BackgroundEngine(make_runner(1), EngineConfig(), empty)
    successor.close()
    assert successor.failing_inputs is empty
