"""An engine that dies leaves nobody waiting, and says what it has died of."""

import pytest

from millpond.types.errors import EngineClosedError

POISON = 666


def lightning(**_):
    raise RuntimeError("struck by lightning")


def test_an_engine_that_dies_leaves_nobody_waiting(kit, model, make_thread, gate, deaths):
    model.on_forward = gate
    thread = make_thread(1)
    requests = [kit.request([number]) for number in range(6)]
    latch = kit.latch(requests)
    thread.submit(requests[:3])
    gate.wait()
    thread.engine.step = lightning
    thread.submit(requests[3:])
    latch.wait()
    assert all(isinstance(request.error, EngineClosedError) for request in requests)
    assert "struck by lightning" in str(requests[0].error)
    assert (thread.is_alive, "struck by lightning" in thread.crash_reason) == (False, True)  # though a batch still runs
    gate.open()
    thread.close()
    assert (thread.is_alive, thread.waiting_tokens) == (False, 0)
    assert "struck by lightning" in str(deaths[0].exc_value)


@pytest.mark.usefixtures("deaths")
def test_an_engine_that_has_died_takes_nothing_and_ends_its_workers(kit, make_thread, threads_named):
    thread = make_thread(1)
    workers = threads_named("millpond-worker")
    thread.engine.step = lightning
    requests = [kit.request([1])]
    latch = kit.latch(requests)
    thread.submit(requests)
    latch.wait()
    with pytest.raises(EngineClosedError):
        thread.submit([kit.request([1])])
    assert all(kit.joined(worker) for worker in workers)


def test_results_that_the_dying_engine_held_in_its_hands_are_not_forgotten(kit, make_thread, deaths):
    thread = make_thread(1)
    step = thread.engine.step

    def dying(**named):
        if step(**named):
            raise RuntimeError("struck by lightning")
        return []

    thread.engine.step = dying
    requests = [kit.request([number]) for number in range(6)]
    latch = kit.latch(requests)
    thread.submit(requests)
    latch.wait()
    assert all(isinstance(request.error, EngineClosedError) for request in requests)
    thread.close()
    assert deaths


def test_a_model_that_raises_a_keyboard_interrupt_leaves_nobody_waiting(kit, model, make_thread, deaths):
    model.on_forward = kit.fails_on(POISON, error=KeyboardInterrupt)
    thread = make_thread(1)
    requests = [kit.request([POISON]), kit.request([1])]
    latch = kit.latch(requests)
    thread.submit(requests)
    latch.wait()
    assert all(isinstance(request.error, EngineClosedError) for request in requests)
    thread.close()
    assert deaths


def test_it_says_what_it_has_died_of(kit, make_thread, deaths):
    thread = make_thread(1)
    assert thread.crash_reason == ""
    thread.engine.step = lightning
    request = kit.request([1])
    latch = kit.latch([request])
    thread.submit([request])
    latch.wait()
    thread.close()
    assert thread.crash_reason == "RuntimeError: struck by lightning"
    with pytest.raises(EngineClosedError, match="struck by lightning"):
        thread.submit([kit.request([1])])
    assert deaths
