"""BackgroundEngine: many callers share batches, and each gets its own result."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from millpond.engine.engine import MULTI_THREAD_MIN_TOKENS
from millpond.types.errors import EngineError, EngineOverloadedError, RequestCancelledError

POISON = 666


def test_requests_of_many_threads_each_get_their_own_result(kit, make_thread):
    thread = make_thread(2, max_num_batched_tokens=200)

    def caller(number):
        for turn in range(10):
            kit.check(kit.run(thread, [kit.request([number, turn, *range(count)]) for count in range(5)]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(caller, range(8)))
    assert thread.waiting_tokens == 0
    assert thread.is_alive


def test_an_idle_engine_and_an_idle_worker_beside_a_busy_one_start_at_once(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(2)
    first, second = kit.request([1]), kit.request([2])
    latch = kit.latch([first, second])
    thread.submit([first])
    gate.wait()
    thread.submit([second])
    gate.wait()
    gate.open()
    kit.check(latch.wait())


def test_a_result_is_delivered_while_another_batch_still_runs(kit, model, make_thread, gate):
    model.on_forward = lambda sequences: gate() if (1,) in sequences else None
    thread = make_thread(2)
    held = kit.request([1])
    latch = kit.latch([held])
    thread.submit([held])
    gate.wait()
    for number in range(2, 10):
        kit.check(kit.run(thread, [kit.request([number])]))
    assert latch.ended == []
    gate.open()
    kit.check(latch.wait())


def test_while_a_worker_computes_the_engine_sleeps(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(2)
    step, steps = thread.engine.step, []
    thread.engine.step = lambda **named: steps.append(named) or step(**named)
    latch = kit.latch(requests := [kit.request([1])])
    thread.submit(requests)
    gate.wait()
    time.sleep(0.05)  # in which a loop that spins would take thousands of steps
    gate.open()
    kit.check(latch.wait())
    assert len(steps) < 10


def test_batches_form_while_the_model_is_busy(kit, model, make_thread, gate):
    """No timers: requests that arrive while a batch runs share the next one, even if groups alternate."""
    model.on_forward = gate
    thread = make_thread(1, max_num_batched_tokens=2048)
    requests = [kit.request([number] * 10, group=("text", "image")[number % 2]) for number in range(301)]
    latch = kit.latch(requests)
    thread.submit(requests[:1])
    gate.wait()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda request: thread.submit([request]), requests[1:]))
    gate.open()
    kit.check(latch.wait())
    assert sorted(map(len, model.seen)) == [1, 150, 150]


def test_the_requests_of_a_call_start_together(kit, model, make_thread):
    """None of them starts alone because the engine is quicker than the hand that gives them over."""

    class Slow(list):
        def __iter__(self):
            for item in list(super().__iter__()):
                yield item
                time.sleep(0.005)

    kit.check(kit.run(make_thread(1), Slow(kit.request([number]) for number in range(5))))
    assert [len(sequences) for sequences in model.seen] == [5]


def test_a_lower_priority_number_overtakes_waiting_requests(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1, max_num_seqs=1)
    requests = [kit.request([number], priority=priority) for number, priority in enumerate([0, 5, 5, -1, 0])]
    latch = kit.latch(requests)
    thread.submit(requests[:1])
    gate.wait()
    thread.submit(requests[1:])
    gate.open()
    latch.wait()
    assert [sequences[0][0] for sequences in model.seen] == [0, 3, 4, 1, 2]


def test_a_failing_input_fails_alone(kit, model, make_thread):
    model.on_forward = kit.fails_on(POISON)
    requests = kit.run(make_thread(2), [kit.request([POISON if number == 9 else number]) for number in range(64)])
    assert isinstance(requests.pop(9).error, EngineError)
    kit.check(requests)


def test_a_cancelled_request_is_dropped_and_frees_its_place(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    first, dropped = kit.request([1] * 10), kit.request([2] * 10)
    latch = kit.latch([first, dropped])
    thread.submit([first])
    gate.wait()
    thread.submit([dropped])
    dropped.cancel()
    gate.open()
    latch.wait()
    assert isinstance(dropped.error, RequestCancelledError)
    assert (len(model.seen), thread.waiting_tokens) == (1, 0)


def test_cancelled_requests_free_their_tokens_while_the_model_is_busy(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1, max_waiting_tokens=100)
    first, dropped = kit.request([1] * 10), [kit.request([2] * 10) for _ in range(9)]
    latch = kit.latch(dropped)
    thread.submit([first])
    gate.wait()
    thread.submit(dropped)
    with pytest.raises(EngineOverloadedError):
        thread.submit([kit.request([3] * 50)])
    thread.cancel([first, *dropped])
    assert set(latch.wait()) == set(dropped)
    assert all(isinstance(request.error, RequestCancelledError) for request in dropped)
    assert (thread.waiting_tokens, thread.pending) == (10, 1)
    last = kit.request([3] * 50)
    thread.submit([last])
    gate.open()
    thread.close()
    kit.check([first, last])
    assert len(model.seen) == 2


def test_a_lone_long_sequence_is_served_too(kit, make_thread):
    kit.check(kit.run(make_thread(2), [kit.request([1] * MULTI_THREAD_MIN_TOKENS)]))


def test_a_failing_callback_affects_no_other_request(kit, make_thread, caplog):
    thread = make_thread(1)

    def broken(_):
        raise RuntimeError("the caller is broken")

    for number in range(3):
        thread.submit([kit.request([number], on_done=broken)])
    kit.check(kit.run(thread, [kit.request([7]), kit.request([8])]))
    assert thread.is_alive
    assert "the caller is broken" in caplog.text


def test_submitting_no_requests_has_no_effect(make_thread):
    thread = make_thread(1)
    thread.submit([])
    assert thread.waiting_tokens == 0


def test_on_batch_receives_each_batch_with_its_seconds(kit, make_thread):
    thread = make_thread(1)
    batches = []
    thread.engine.on_batch = lambda requests, seconds: batches.append((list(requests), seconds))
    requests = kit.run(thread, [kit.request([number]) for number in range(4)])
    thread.close()
    assert [set(batch) for batch, _ in batches] == [set(requests)]
    assert batches[0][1] > 0
    assert all(request.state.started > 0 for request in requests)
