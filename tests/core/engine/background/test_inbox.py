"""A full inbox: calls that do not fit are refused, and calls that fit are served."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from millpond.types.errors import EngineOverloadedError


def test_a_full_inbox_refuses_all_of_a_call_and_recovers(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1, max_waiting_tokens=100)
    taken = [kit.request([1] * 60), kit.request([2] * 40)]
    latch = kit.latch(taken)
    thread.submit(taken)
    with pytest.raises(EngineOverloadedError, match=r"100 tokens are waiting.*max_waiting_tokens=100"):
        thread.submit([kit.request([3]), kit.request([4])])
    assert thread.waiting_tokens == 100
    gate.open()
    kit.check(latch.wait())
    assert thread.waiting_tokens == 0
    kit.check(kit.run(thread, [kit.request([5] * 100)]))
    assert not any((3,) in sequences or (4,) in sequences for sequences in model.seen)


def test_a_call_that_fits_is_accepted_after_a_refusal(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1, max_waiting_tokens=100)
    thread.submit([kit.request([1] * 60)])
    with pytest.raises(EngineOverloadedError):
        thread.submit([kit.request([2] * 41)])
    thread.submit([kit.request([3] * 40)])
    assert thread.waiting_tokens == 100


def test_a_call_larger_than_the_inbox_is_served_when_nothing_else_waits(kit, make_thread):
    kit.check(kit.run(make_thread(1, max_waiting_tokens=10), [kit.request([number] * 9) for number in range(1, 9)]))


def test_under_overload_each_call_is_either_refused_or_served(kit, make_thread):
    thread = make_thread(2, max_waiting_tokens=50)
    served, refused = [], []

    def caller(number):
        for turn in range(20):
            request = kit.request([number, turn] * 5)
            latch = kit.latch([request])
            try:
                thread.submit([request])
            except EngineOverloadedError:
                refused.append(request)
            else:
                served.extend(latch.wait())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(caller, range(8)))
    assert len(served) + len(refused) == 160
    kit.check(served)
    assert thread.waiting_tokens == 0
