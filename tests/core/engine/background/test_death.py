"""A crashed engine fails all requests and reports the exception."""

import pytest
import torch

from millpond.types.errors import EngineClosedError

POISON = 666


def lightning(**_):
    raise RuntimeError("struck by lightning")


def test_a_crashing_engine_fails_all_requests(kit, model, make_thread, gate, deaths):
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
def test_a_crashed_engine_refuses_requests_and_stops_its_workers(kit, make_thread, threads_named):
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


def test_results_that_the_crashing_engine_had_received_are_delivered(kit, make_thread, deaths):
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


def test_a_keyboard_interrupt_in_the_model_fails_all_requests(kit, model, make_thread, deaths):
    model.on_forward = kit.fails_on(POISON, error=KeyboardInterrupt)
    thread = make_thread(1)
    requests = [kit.request([POISON]), kit.request([1])]
    latch = kit.latch(requests)
    thread.submit(requests)
    latch.wait()
    assert all(isinstance(request.error, EngineClosedError) for request in requests)
    thread.close()
    assert deaths


def test_the_crash_reason_names_the_exception(kit, make_thread, deaths):
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


def test_a_lost_device_crashes_the_engine(kit, model, make_thread, deaths):
    def lost(_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    model.on_forward = lost
    thread = make_thread(1)
    thread.engine.runner.device = torch.device("cuda")  # it computes on the CPU all the same
    requests = kit.numbered(3)
    latch = kit.latch(requests)
    thread.submit(requests)
    latch.wait()
    assert all(isinstance(request.error, EngineClosedError) for request in requests)
    thread.close()
    assert "an illegal memory access" in thread.crash_reason
    assert "Only another process" in str(deaths[0].exc_value)
