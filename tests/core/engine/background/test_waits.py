"""The expected wait of a request, and requests refused because of it."""

import pytest

from millpond.types.errors import EngineOverloadedError


def measured(thread, rate):
    """Return the engine with a given number of tokens per second as its measured throughput."""
    thread.engine.throughput.note(rate, began=0.0, ended=1.0)
    thread.engine.throughput.note = lambda *_, **__: None
    return thread


def test_the_expected_wait_counts_requests_that_are_served_first(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = measured(make_thread(1), rate=100)
    assert thread.expected_wait() == 0.0
    thread.submit([kit.request([1] * 50)])
    gate.wait()
    thread.submit([kit.request([1] * 200, priority=1)])
    thread.submit([kit.request([1] * 20, priority=-1)])
    assert [thread.expected_wait(priority) for priority in (-1, 0, 1)] == pytest.approx([0.2, 0.7, 2.7])
    gate.open()
    thread.close()
    assert [thread.expected_wait(priority) for priority in (-1, 0, 1)] == [0.0, 0.0, 0.0]


def test_the_expected_wait_is_zero_before_the_first_batch(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    thread.max_wait_s = 0.001
    thread.submit([kit.request([1] * 50)])
    gate.wait()
    thread.submit([kit.request([1] * 50)])
    assert thread.expected_wait() == 0.0
    gate.open()
    thread.close()
    assert thread.engine.throughput.rate > 0


def test_a_wait_over_the_limit_is_refused_with_a_retry_time(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = measured(make_thread(1), rate=100)
    thread.max_wait_s = 1.0
    thread.submit([kit.request([1] * 150, priority=1)])
    gate.wait()
    with pytest.raises(EngineOverloadedError, match=r"expected wait of 1\.5 s is over the limit of 1 s") as refused:
        thread.submit([kit.request([1], priority=1)])
    assert refused.value.retry_after == pytest.approx(0.5)
    waiting = kit.request([1])
    thread.submit([waiting])  # it is before the other
    gate.open()
    thread.close()
    kit.check([waiting])


def test_batch_requests_leave_capacity_for_interactive_ones(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = measured(make_thread(1, max_waiting_tokens=100), rate=10)
    thread.submit([kit.request([1] * 70, priority=1)])
    gate.wait()
    with pytest.raises(EngineOverloadedError, match="max_waiting_tokens=75") as refused:
        thread.submit([kit.request([1] * 10, priority=1)])
    assert refused.value.retry_after == pytest.approx(0.5)
    waiting = kit.request([1] * 30)
    thread.submit([waiting])
    gate.open()
    thread.close()
    kit.check([waiting])
