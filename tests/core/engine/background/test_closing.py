"""Closing: waiting requests are finished or fail, new ones are refused, and no caller is left waiting."""

import threading

import pytest

from millpond.types.errors import EngineClosedError


def test_close_finishes_waiting_requests(kit, model, make_thread, gate, threads_named):
    model.on_forward = gate
    thread = make_thread(1, max_num_seqs=2)
    workers = threads_named("millpond-worker")
    requests = [kit.request([number]) for number in range(7)]
    latch = kit.latch(requests)
    thread.submit(requests)
    gate.wait()
    closer = kit.in_thread(thread.close)
    gate.open()
    assert kit.joined(closer)
    kit.check(latch.wait())
    assert not thread.is_alive
    assert workers
    assert all(kit.joined(worker) for worker in workers)


def test_close_without_finishing_fails_waiting_and_running_requests_at_once(
    kit, model, make_thread, gate, threads_named
):
    model.on_forward = gate
    thread = make_thread(1, max_num_seqs=2)
    workers = threads_named("millpond-worker")
    requests = [kit.request([number]) for number in range(7)]
    latch = kit.latch(requests)
    thread.submit(requests)
    gate.wait()
    closer = kit.in_thread(thread.close, finish=False)
    latch.wait()
    assert all(isinstance(request.error, EngineClosedError) for request in requests)
    assert "closed before the request was computed" in str(requests[0].error)
    gate.open()
    assert kit.joined(closer)
    assert (thread.waiting_tokens, thread.is_alive) == (0, False)
    assert all(kit.joined(worker) for worker in workers)


def test_a_closed_engine_refuses_requests(kit, make_thread):
    thread = make_thread(1)
    thread.close()
    with pytest.raises(EngineClosedError, match="closed"):
        thread.submit([kit.request([1])])
    assert thread.waiting_tokens == 0


def test_a_closing_engine_refuses_requests(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    request = kit.request([1])
    latch = kit.latch([request])
    thread.submit([request])
    gate.wait()
    closer = kit.in_thread(thread.close)
    while True:  # until the closer has got so far
        try:
            thread.submit([kit.request([2])])
        except EngineClosedError:
            break
    gate.open()
    assert kit.joined(closer)
    kit.check(latch.wait())


def test_closing_twice_is_allowed(kit, make_thread):
    thread = make_thread(1)
    kit.check(kit.run(thread, [kit.request([1])]))
    thread.close()
    thread.close()
    thread.close(finish=False)


def test_every_close_waits_for_the_end(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    request = kit.request([1])
    latch = kit.latch([request])
    thread.submit([request])
    gate.wait()
    alive = []
    closers = [kit.in_thread(lambda: (thread.close(), alive.append(thread.is_alive))) for _ in range(3)]
    gate.open()
    assert all(kit.joined(closer) for closer in closers)
    assert alive == [False] * 3
    kit.check(latch.wait())


def test_a_second_close_can_shorten_the_wait(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1, max_num_seqs=1)
    requests = [kit.request([number]) for number in range(5)]
    latch = kit.latch(requests)
    thread.submit(requests)
    gate.wait()
    closers = [kit.in_thread(thread.close), kit.in_thread(thread.close, finish=False)]
    latch.wait()
    gate.open()
    assert all(kit.joined(closer) for closer in closers)
    assert all(isinstance(request.error, EngineClosedError) for request in requests)


def test_callers_that_submit_while_it_closes_are_refused_or_served(kit, make_thread):
    thread = make_thread(2)
    together, served = threading.Barrier(9), []

    def caller(number):
        together.wait()
        for turn in range(50):
            request = kit.request([number, turn])
            latch = kit.latch([request])
            try:
                thread.submit([request])
            except EngineClosedError:
                return
            served.extend(latch.wait())

    callers = [kit.in_thread(caller, number) for number in range(8)]
    together.wait()
    thread.close()
    assert all(kit.joined(caller) for caller in callers)
    kit.check(served)
