"""The threads of a runner: their number, closing, and the setting of torch in the caller."""

import gc
import threading
import weakref
from queue import SimpleQueue

import pytest
import torch
from engine_kit import on_worker

from millpond.engine.runner import Runner
from millpond.nn import op_threads


def computed_with(model, runner, kit):
    """Return the numbers of torch threads in the threads that compute batches, after an operation that uses them."""
    numbers = []

    def on_forward(_):
        torch.ones(1 << 18).exp()
        numbers.append(torch.get_num_threads())

    model.on_forward = on_forward
    for _ in range(4):
        on_worker(runner, kit.request([1]))
    return set(numbers)


@pytest.mark.usefixtures("three_threads")
def test_workers_compute_in_one_thread_each(kit, model, make_runner):
    assert computed_with(model, make_runner(2), kit) == {1}


@pytest.mark.usefixtures("three_threads")
def test_workers_stay_single_threaded_when_the_caller_sets_another_number(kit, model, make_runner):
    runner = make_runner(2)
    torch.set_num_threads(2)
    assert computed_with(model, runner, kit) == {1}


def test_the_callers_number_of_threads_is_unchanged(make_runner, three_threads):
    make_runner(2)
    assert torch.get_num_threads() == three_threads


def threads_of_a_new_thread():
    numbers = SimpleQueue()
    thread = threading.Thread(target=lambda: numbers.put(torch.get_num_threads()))
    thread.start()
    thread.join()
    return numbers.get()


def test_a_thread_that_starts_later_has_the_callers_number(make_runner, three_threads):
    make_runner(2)
    assert threads_of_a_new_thread() == three_threads


def test_runners_created_concurrently_leave_the_number_unchanged(model, closing, three_threads):
    """One that reads the number while another's workers start would take theirs for the caller's, and keep it."""
    together = threading.Barrier(8)

    def make():
        together.wait()
        for _ in range(5):
            closing.callback(Runner(model, device=torch.device("cpu"), num_workers=2).close)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (torch.get_num_threads(), threads_of_a_new_thread()) == (three_threads, three_threads)


@pytest.mark.parametrize(("workers", "share"), [(2, 3), (1, 1)], ids=["several", "one"])
def test_an_op_may_use_all_threads_while_a_worker_is_alone(kit, model, make_runner, three_threads, workers, share):
    shares = []
    model.on_forward = lambda _: shares.append(op_threads())
    runner = make_runner(workers)
    for _ in range(4):
        on_worker(runner, kit.request([1]))
    assert (shares, op_threads()) == ([share] * 4, three_threads)


@pytest.mark.usefixtures("three_threads")
def test_an_op_has_one_thread_while_another_batch_runs(kit, model, make_runner):
    shares, outcomes, both = [], SimpleQueue(), threading.Barrier(2, timeout=kit.patience)

    def on_forward(_):
        both.wait()
        shares.append(op_threads())
        both.wait()

    model.on_forward = on_forward
    runner = make_runner(2)
    for number in range(2):
        runner.submit([kit.request([number])], outcomes.put)
    assert [outcomes.get(timeout=kit.patience).error for _ in range(2)] == [None, None]
    assert shares == [1, 1]


@pytest.mark.usefixtures("three_threads")
def test_a_failed_batch_does_not_count_as_running(kit, model, make_runner):
    runner, shares = make_runner(2), []
    model.on_forward = kit.fails_on(1)
    assert on_worker(runner, kit.request([1])).error is not None
    model.on_forward = lambda _: shares.append(op_threads())
    on_worker(runner, kit.request([2]))
    assert shares == [3]


def test_the_requested_number_of_workers_compute_concurrently(kit, model, make_runner, gate):
    model.on_forward = gate
    runner, outcomes = make_runner(3), SimpleQueue()
    for number in range(4):
        runner.submit([kit.request([number])], outcomes.put)
    gate.wait(3)
    assert gate.no_forward_began()
    gate.let_pass()
    outcomes.get(timeout=kit.patience)
    gate.wait(1)
    assert runner.num_workers == 3


def test_by_default_there_is_a_worker_for_each_core_of_this_process(model, closing):
    runner = Runner(model, device=torch.device("cpu"))
    closing.callback(runner.close)
    assert runner.num_workers >= 1


def test_close_stops_the_workers_after_their_current_batches(kit, model, make_runner, gate, threads_named):
    model.on_forward = gate
    runner, outcomes = make_runner(2), SimpleQueue()
    workers = threads_named("millpond-worker")
    assert len(workers) == 2
    requests = [kit.request([number]) for number in range(5)]
    for request in requests:
        runner.submit([request], outcomes.put)
    closer = threading.Thread(target=runner.close)
    closer.start()
    gate.open()
    closer.join(kit.patience)
    for worker in workers:
        worker.join(kit.patience)
        assert not worker.is_alive()
    assert {outcomes.get(timeout=1).requests[0] for _ in requests} == set(requests)
    runner.close()


def test_the_close_timeout_applies_to_all_hanging_workers_together(kit, model, make_runner, gate, monkeypatch):
    """Else a program with 64 workers would take 64 times as long to end."""
    model.on_forward = gate
    runner = make_runner(8)
    for number in range(8):
        runner.submit([kit.request([number])], lambda _: None)
    gate.wait(8)
    join, waited = threading.Thread.join, []
    monkeypatch.setattr("millpond.engine.workers.CLOSE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(threading.Thread, "join", lambda self, timeout: waited.append(timeout) or join(self, timeout))
    runner.close()
    monkeypatch.undo()
    assert len(waited) == 8
    assert sum(waited) < 0.2


def test_a_garbage_collected_runner_stops_its_workers(kit, model, threads_named):
    runner = Runner(model, device=torch.device("cpu"), num_workers=2)
    workers = threads_named("millpond-worker")
    for number in range(4):
        on_worker(runner, kit.request([number]))
    gone = weakref.ref(runner)
    del runner
    gc.collect()
    assert gone() is None
    for worker in workers:
        worker.join(kit.patience)
        assert not worker.is_alive()
