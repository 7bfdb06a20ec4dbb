"""The engine in a thread of its own: many callers, a full inbox, closing, and an engine that dies."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from millpond.config import EngineConfig
from millpond.engine.engine import IN_A_ROW, LONG_ENOUGH
from millpond.engine.thread import EngineThread
from millpond.errors import (
    BlockedInputError,
    EngineClosedError,
    EngineError,
    EngineOverloadedError,
    InvalidInputError,
    RequestCancelledError,
)

POISON = 666
PATIENCE = 120  # seconds until a test that waits for something is given up


class Latch:
    """Waits for requests to end, in whatever thread that happens."""

    def __init__(self, requests):
        self.ended = []
        self._threads = set()
        self._all = threading.Event()
        self._left = len(requests)
        for request in requests:
            request.on_done = self._note

    def _note(self, request):
        self.ended.append(request)
        self._threads.add(threading.current_thread().name)
        if len(self.ended) == self._left:
            self._all.set()

    def wait(self):
        assert self._all.wait(PATIENCE), f"{len(self.ended)} of {self._left} requests ended"
        assert self._threads == {"millpond-engine"}
        return self.ended


def run(thread, requests):
    """Submit requests, and wait for them."""
    latch = Latch(requests)
    thread.submit(requests)
    latch.wait()
    return requests


def in_thread(function, *arguments, **named):
    thread = threading.Thread(target=function, args=arguments, kwargs=named, daemon=True)
    thread.start()
    return thread


def joined(thread):
    thread.join(PATIENCE)
    return not thread.is_alive()


# --- work -------------------------------------------------------------------------------------------------------------


def test_requests_of_many_threads_each_get_their_own_result(kit, make_thread):
    thread = make_thread(2, max_num_batched_tokens=200)

    def caller(number):
        for turn in range(10):
            kit.check(run(thread, [kit.request([number, turn, *range(count)]) for count in range(5)]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(caller, range(8)))
    assert thread.waiting_tokens == 0
    assert thread.is_alive


def test_an_idle_engine_starts_at_once_and_an_idle_worker_beside_a_busy_one_too(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(2)
    first, second = kit.request([1]), kit.request([2])
    latch = Latch([first, second])
    thread.submit([first])
    gate.wait()
    thread.submit([second])
    gate.wait()
    gate.open()
    kit.check(latch.wait())


def test_a_result_is_handed_out_while_another_batch_still_runs(kit, model, make_thread, gate):
    model.on_forward = lambda sequences: gate() if (1,) in sequences else None
    thread = make_thread(2)
    held = kit.request([1])
    latch = Latch([held])
    thread.submit([held])
    gate.wait()
    for number in range(2, 10):
        kit.check(run(thread, [kit.request([number])]))
    assert latch.ended == []
    gate.open()
    kit.check(latch.wait())


def test_while_a_worker_computes_the_engine_sleeps(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(2)
    step, steps = thread.engine.step, []
    thread.engine.step = lambda **named: steps.append(named) or step(**named)
    latch = Latch(requests := [kit.request([1])])
    thread.submit(requests)
    gate.wait()
    time.sleep(0.05)  # in which a loop that spins would take thousands of steps
    gate.open()
    kit.check(latch.wait())
    assert len(steps) < 10


def test_batches_form_while_the_model_is_busy(kit, model, make_thread, gate):
    """No timers: what comes while a batch runs shares the next, whatever its group was interleaved with."""
    model.on_forward = gate
    thread = make_thread(1, max_num_batched_tokens=2048)
    requests = [kit.request([number] * 10, group=("text", "image")[number % 2]) for number in range(301)]
    latch = Latch(requests)
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

    kit.check(run(make_thread(1), Slow(kit.request([number]) for number in range(5))))
    assert [len(sequences) for sequences in model.seen] == [5]


def test_a_lower_priority_overtakes_what_waits(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1, max_num_seqs=1)
    requests = [kit.request([number], priority=priority) for number, priority in enumerate([0, 5, 5, -1, 0])]
    latch = Latch(requests)
    thread.submit(requests[:1])
    gate.wait()
    thread.submit(requests[1:])
    gate.open()
    latch.wait()
    assert [sequences[0][0] for sequences in model.seen] == [0, 3, 4, 1, 2]


def test_a_poison_fails_alone(kit, model, make_thread):
    model.on_forward = kit.fails_on(POISON)
    requests = run(make_thread(2), [kit.request([POISON if number == 9 else number]) for number in range(64)])
    assert isinstance(requests.pop(9).error, EngineError)
    kit.check(requests)


def test_a_cancelled_request_is_dropped_and_frees_its_place(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    first, dropped = kit.request([1] * 10), kit.request([2] * 10)
    latch = Latch([first, dropped])
    thread.submit([first])
    gate.wait()
    thread.submit([dropped])
    dropped.cancel()
    gate.open()
    latch.wait()
    assert isinstance(dropped.error, RequestCancelledError)
    assert (len(model.seen), thread.waiting_tokens) == (1, 0)


def test_what_is_cancelled_gives_its_room_back_while_the_model_is_busy(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1, max_waiting_tokens=100)
    first, dropped = kit.request([1] * 10), [kit.request([2] * 10) for _ in range(9)]
    latch = Latch(dropped)
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
    kit.check(run(make_thread(2), [kit.request([1] * LONG_ENOUGH)]))


def test_a_caller_that_fails_to_take_its_result_harms_no_other(kit, make_thread, caplog):
    thread = make_thread(1)

    def broken(_):
        raise RuntimeError("the caller is broken")

    for number in range(3):
        thread.submit([kit.request([number], on_done=broken)])
    kit.check(run(thread, [kit.request([7]), kit.request([8])]))
    assert thread.is_alive
    assert "the caller is broken" in caplog.text


def test_submitting_nothing_is_nothing(make_thread):
    thread = make_thread(1)
    thread.submit([])
    assert thread.waiting_tokens == 0


# --- a full inbox -----------------------------------------------------------------------------------------------------


def test_a_full_inbox_refuses_all_of_a_call_and_recovers(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1, max_waiting_tokens=100)
    taken = [kit.request([1] * 60), kit.request([2] * 40)]
    latch = Latch(taken)
    thread.submit(taken)
    with pytest.raises(EngineOverloadedError, match=r"100 tokens wait already.*max_waiting_tokens=100"):
        thread.submit([kit.request([3]), kit.request([4])])
    assert thread.waiting_tokens == 100
    gate.open()
    kit.check(latch.wait())
    assert thread.waiting_tokens == 0
    kit.check(run(thread, [kit.request([5] * 100)]))
    assert not any((3,) in sequences or (4,) in sequences for sequences in model.seen)


def test_what_still_fits_is_taken_after_a_refusal(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1, max_waiting_tokens=100)
    thread.submit([kit.request([1] * 60)])
    with pytest.raises(EngineOverloadedError):
        thread.submit([kit.request([2] * 41)])
    thread.submit([kit.request([3] * 40)])
    assert thread.waiting_tokens == 100


def test_a_call_larger_than_the_inbox_is_served_when_nothing_else_waits(kit, make_thread):
    kit.check(run(make_thread(1, max_waiting_tokens=10), [kit.request([number] * 9) for number in range(1, 9)]))


def test_under_overload_each_call_is_either_refused_or_served(kit, make_thread):
    thread = make_thread(2, max_waiting_tokens=50)
    served, refused = [], []

    def caller(number):
        for turn in range(20):
            request = kit.request([number, turn] * 5)
            latch = Latch([request])
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


# --- closing ----------------------------------------------------------------------------------------------------------


def test_close_finishes_what_waits(kit, model, make_thread, gate, threads_named):
    model.on_forward = gate
    thread = make_thread(1, max_num_seqs=2)
    workers = threads_named("millpond-worker")
    requests = [kit.request([number]) for number in range(7)]
    latch = Latch(requests)
    thread.submit(requests)
    gate.wait()
    closer = in_thread(thread.close)
    gate.open()
    assert joined(closer)
    kit.check(latch.wait())
    assert not thread.is_alive
    assert workers
    assert all(joined(worker) for worker in workers)


def test_close_without_finishing_fails_what_waits_and_what_runs_without_waiting_for_it(
    kit, model, make_thread, gate, threads_named
):
    model.on_forward = gate
    thread = make_thread(1, max_num_seqs=2)
    workers = threads_named("millpond-worker")
    requests = [kit.request([number]) for number in range(7)]
    latch = Latch(requests)
    thread.submit(requests)
    gate.wait()
    closer = in_thread(thread.close, finish=False)
    latch.wait()
    assert all(isinstance(request.error, EngineClosedError) for request in requests)
    assert "closed before the request was computed" in str(requests[0].error)
    gate.open()
    assert joined(closer)
    assert (thread.waiting_tokens, thread.is_alive) == (0, False)
    assert all(joined(worker) for worker in workers)


def test_what_is_closed_takes_nothing(kit, make_thread):
    thread = make_thread(1)
    thread.close()
    with pytest.raises(EngineClosedError, match="closed"):
        thread.submit([kit.request([1])])
    assert thread.waiting_tokens == 0


def test_while_it_finishes_it_takes_nothing(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    request = kit.request([1])
    latch = Latch([request])
    thread.submit([request])
    gate.wait()
    closer = in_thread(thread.close)
    while True:  # until the closer has got so far
        try:
            thread.submit([kit.request([2])])
        except EngineClosedError:
            break
    gate.open()
    assert joined(closer)
    kit.check(latch.wait())


def test_closing_twice_is_closing_once(kit, make_thread):
    thread = make_thread(1)
    kit.check(run(thread, [kit.request([1])]))
    thread.close()
    thread.close()
    thread.close(finish=False)


def test_every_close_waits_for_the_end(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    request = kit.request([1])
    latch = Latch([request])
    thread.submit([request])
    gate.wait()
    alive = []
    closers = [in_thread(lambda: (thread.close(), alive.append(thread.is_alive))) for _ in range(3)]
    gate.open()
    assert all(joined(closer) for closer in closers)
    assert alive == [False] * 3
    kit.check(latch.wait())


def test_a_close_that_takes_too_long_can_be_hurried(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1, max_num_seqs=1)
    requests = [kit.request([number]) for number in range(5)]
    latch = Latch(requests)
    thread.submit(requests)
    gate.wait()
    closers = [in_thread(thread.close), in_thread(thread.close, finish=False)]
    latch.wait()
    gate.open()
    assert all(joined(closer) for closer in closers)
    assert all(isinstance(request.error, EngineClosedError) for request in requests)


def test_callers_that_submit_while_it_closes_are_refused_or_served(kit, make_thread):
    thread = make_thread(2)
    together, served = threading.Barrier(9), []

    def caller(number):
        together.wait()
        for turn in range(50):
            request = kit.request([number, turn])
            latch = Latch([request])
            try:
                thread.submit([request])
            except EngineClosedError:
                return
            served.extend(latch.wait())

    callers = [in_thread(caller, number) for number in range(8)]
    together.wait()
    thread.close()
    assert all(joined(caller) for caller in callers)
    kit.check(served)


# --- death ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def deaths(monkeypatch):
    """What threads died of, instead of pytest's warning."""
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    return died


def lightning(**_):
    raise RuntimeError("struck by lightning")


def test_an_engine_that_dies_leaves_nobody_waiting(kit, model, make_thread, gate, deaths):
    model.on_forward = gate
    thread = make_thread(1)
    requests = [kit.request([number]) for number in range(6)]
    latch = Latch(requests)
    thread.submit(requests[:3])
    gate.wait()
    thread.engine.step = lightning
    thread.submit(requests[3:])
    latch.wait()
    assert all(isinstance(request.error, EngineClosedError) for request in requests)
    assert "struck by lightning" in str(requests[0].error)
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
    latch = Latch(requests)
    thread.submit(requests)
    latch.wait()
    with pytest.raises(EngineClosedError):
        thread.submit([kit.request([1])])
    assert all(joined(worker) for worker in workers)


def test_results_that_the_dying_engine_held_in_its_hands_are_not_forgotten(kit, make_thread, deaths):
    thread = make_thread(1)
    step = thread.engine.step

    def dying(**named):
        if step(**named):
            raise RuntimeError("struck by lightning")
        return []

    thread.engine.step = dying
    requests = [kit.request([number]) for number in range(6)]
    latch = Latch(requests)
    thread.submit(requests)
    latch.wait()
    assert all(isinstance(request.error, EngineClosedError) for request in requests)
    thread.close()
    assert deaths


def test_a_model_that_raises_a_keyboard_interrupt_leaves_nobody_waiting(kit, model, make_thread, deaths):
    model.on_forward = kit.fails_on(POISON, error=KeyboardInterrupt)
    thread = make_thread(1)
    requests = [kit.request([POISON]), kit.request([1])]
    latch = Latch(requests)
    thread.submit(requests)
    latch.wait()
    assert all(isinstance(request.error, EngineClosedError) for request in requests)
    thread.close()
    assert deaths


# --- how long it takes, and what hangs --------------------------------------------------------------------------------


def measured(thread, rate):
    """The thread, as if its engine had computed so many tokens a second."""
    thread.engine.throughput.note(rate, began=0.0, ended=1.0)
    thread.engine.throughput.note = lambda *_, **__: None
    return thread


def test_the_expected_wait_is_that_of_what_is_served_first(kit, model, make_thread, gate):
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


def test_nothing_is_expected_before_a_batch_was_measured(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    thread.most_seconds = 0.001
    thread.submit([kit.request([1] * 50)])
    gate.wait()
    thread.submit([kit.request([1] * 50)])
    assert thread.expected_wait() == 0.0
    gate.open()
    thread.close()
    assert thread.engine.throughput.rate > 0


def test_a_hopeless_wait_is_refused_with_when_to_come_again(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = measured(make_thread(1), rate=100)
    thread.most_seconds = 1.0
    thread.submit([kit.request([1] * 150, priority=1)])
    gate.wait()
    with pytest.raises(EngineOverloadedError, match=r"wait for 1\.5 s, more than 1 s") as refused:
        thread.submit([kit.request([1], priority=1)])
    assert refused.value.retry_after == pytest.approx(0.5)
    waiting = kit.request([1])
    thread.submit([waiting])  # it is before the other
    gate.open()
    thread.close()
    kit.check([waiting])


def test_what_is_patient_leaves_room_for_the_others(kit, model, make_thread, gate):
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


def test_what_hangs_can_be_given_up_and_ends_once(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    requests = [kit.request([number]) for number in range(3)]
    ended = []
    for request in requests:
        request.on_done = ended.append
    thread.submit(requests[:1])
    gate.wait()
    thread.submit(requests[1:])
    assert [batch == requests[:1] for batch in thread.engine.running] == [True]
    thread.give_up(thread.engine.running[0], "it hangs")
    assert (ended, str(requests[0].error), thread.pending) == (requests[:1], "it hangs", 2)
    assert set(thread.waiting()) == set(requests[1:])
    gate.open()
    thread.close()
    assert set(ended) == set(requests)
    assert len(ended) == 3
    kit.check(requests[1:])
    assert str(requests[0].error) == "it hangs"
    assert thread.waiting_tokens == 0


def test_it_says_what_it_has_died_of(kit, make_thread, deaths):
    thread = make_thread(1)
    assert thread.has_died == ""
    thread.engine.step = lightning
    request = kit.request([1])
    latch = Latch([request])
    thread.submit([request])
    latch.wait()
    thread.close()
    assert thread.has_died == "RuntimeError: struck by lightning"
    with pytest.raises(EngineClosedError, match="struck by lightning"):
        thread.submit([kit.request([1])])
    assert deaths


def test_each_batch_is_told_with_its_seconds(kit, make_thread):
    thread = make_thread(1)
    told = []
    thread.engine.on_batch = lambda requests, seconds: told.append((list(requests), seconds))
    requests = run(thread, [kit.request([number]) for number in range(4)])
    thread.close()
    assert [set(batch) for batch, _ in told] == [set(requests)]
    assert told[0][1] > 0
    assert all(request.started > 0 for request in requests)


# --- what is not tried again ------------------------------------------------------------------------------------------


def quarantined(thread, requests):
    """Submit requests; those that are blocked end on this thread."""
    ended = threading.Event()
    left = [len(requests)]

    def note(_):
        left[0] -= 1
        if not left[0]:
            ended.set()

    for request in requests:
        request.on_done = note
    thread.submit(requests)
    assert ended.wait(PATIENCE)
    return requests


def test_what_the_model_has_failed_on_is_not_tried_again(kit, model, make_thread):
    model.on_forward = kit.fails_on(POISON)
    thread = make_thread(1)
    thread.quarantine.seconds = 60.0
    run(thread, [kit.request([number or POISON]) for number in range(8)])
    forwards = len(model.seen)
    poison, other = quarantined(thread, [kit.request([POISON]), kit.request([5])])
    assert isinstance(poison.error, BlockedInputError)
    assert "not tried again for 60 s" in str(poison.error)
    kit.check([other])
    assert len(model.seen) == forwards + 1
    assert (thread.waiting_tokens, thread.pending) == (0, 0)
    model.on_forward = lambda _: None
    thread.quarantine.seconds_left = lambda _: 0.0  # its time is over
    kit.check(run(thread, [kit.request([POISON])]))


def test_where_the_model_fails_on_all_few_are_held_to_have_caused_it(kit, model, make_thread):
    model.on_forward = kit.fails_on(*range(64))
    thread = make_thread(1)
    thread.quarantine.seconds = 60.0
    run(thread, [kit.request([number]) for number in range(64)])
    assert len(thread.quarantine) == IN_A_ROW
    model.on_forward = lambda _: None
    kit.check(run(thread, [kit.request([number]) for number in range(IN_A_ROW, 64)]))
    model.on_forward = kit.fails_on(POISON)
    run(thread, [kit.request([POISON])])
    assert len(thread.quarantine) == IN_A_ROW + 1


@pytest.mark.parametrize("error", [MemoryError, lambda: InvalidInputError("no")])
def test_what_is_no_fault_of_the_model_may_be_tried_again(kit, model, make_thread, error):
    model.on_forward = kit.fails_on(POISON, error=error)
    thread = make_thread(1)
    thread.quarantine.seconds = 60.0
    assert run(thread, [kit.request([POISON])])[0].error
    model.on_forward = lambda _: None
    kit.check(run(thread, [kit.request([POISON])]))


def test_of_a_batch_that_killed_the_engine_the_culprit_is_found(kit, model, make_runner, make_thread, deaths):
    model.on_forward = kit.fails_on(POISON, error=KeyboardInterrupt)
    thread = make_thread(1)
    thread.quarantine.seconds = 60.0
    run(thread, [kit.request([number]) for number in (1, POISON, 2)])

    def restarted():
        return EngineThread(make_runner(1), EngineConfig(), thread.quarantine)

    second = restarted()
    kit.check(run(second, [kit.request([1])]))
    assert isinstance(run(second, [kit.request([POISON])])[0].error, EngineClosedError)
    third = restarted()
    (poison,) = quarantined(third, [kit.request([POISON])])
    assert isinstance(poison.error, BlockedInputError)
    kit.check(run(third, [kit.request([1]), kit.request([2])]))
    third.close()
    assert len(deaths) == 2


def test_what_hangs_is_not_tried_again_until_it_has_ended_after_all(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    thread.quarantine.seconds = 60.0
    first = kit.request([1])
    thread.submit([first])
    gate.wait()
    for _ in range(3):
        thread.give_up(thread.engine.running[0], "it hangs", suspected=True)
    (again,) = quarantined(thread, [kit.request([1])])
    assert isinstance(again.error, BlockedInputError)
    gate.open()
    kit.check(run(thread, [kit.request([2])]))
    kit.check(run(thread, [kit.request([1])]))
