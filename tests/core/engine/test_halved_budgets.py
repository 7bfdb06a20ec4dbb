"""Batches that run out of memory: the budget of tokens is halved, and grows again once there is memory."""

import weakref

import pytest
import torch

from millpond.engine.scheduler import INITIAL_RAISE_AFTER_BATCHES, MIN_BUDGET_TOKENS
from millpond.types.errors import InsufficientMemoryError

POISON = 666


def out_of_memory(kind):
    return {
        "accelerator": torch.OutOfMemoryError("CUDA out of memory"),
        "page-locked": RuntimeError("CUDA error: out of memory"),
        "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        "python": MemoryError(),
        "cpu": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    }[kind]


def holds(most, error, failed=None):
    """A machine whose memory holds a number of tokens."""

    def on_forward(sequences):
        if sum(map(len, sequences)) > most:
            if failed is not None:
                failed.append(sequences)
            raise error

    return on_forward


def tens(kit, count):
    return [kit.request([number] * 10) for number in range(count)]


@pytest.mark.parametrize("kind", ["accelerator", "page-locked", "cuBLAS", "python", "cpu"])
def test_out_of_memory_halves_the_budget_until_all_succeed(kit, model, make_engine, kind):
    failed = []
    model.on_forward = holds(1000, out_of_memory(kind), failed)
    engine = make_engine(max_num_batched_tokens=4096)
    kit.check(kit.run_all(engine, tens(kit, 409)))
    assert 256 <= engine.scheduler.max_num_batched_tokens <= 1000
    failed.clear()
    kit.check(kit.run_all(engine, tens(kit, 409)))
    assert failed == []


def test_concurrent_batches_that_run_out_of_memory_halve_the_budget_once(kit, model, make_engine, gate):
    def on_forward(sequences):
        gate()
        holds(2048, MemoryError())(sequences)

    model.on_forward = on_forward
    engine = make_engine(4, max_num_batched_tokens=4000)
    requests = kit.add_all(engine, tens(kit, 1600))
    engine.step(block=False)
    gate.wait(4)
    gate.open()
    kit.check(kit.drain(engine))
    assert all(request.results for request in requests)
    assert engine.scheduler.max_num_batched_tokens == 2000


def test_the_budget_is_halved_no_further_than_the_smallest(kit, model, make_engine):
    model.on_forward = holds(9, MemoryError())
    engine = make_engine(max_num_batched_tokens=4096)
    requests = kit.run_all(engine, tens(kit, 100))
    assert all("not enough memory" in str(request.error) for request in requests)
    assert {type(request.error) for request in requests} == {InsufficientMemoryError}
    assert engine.scheduler.max_num_batched_tokens == MIN_BUDGET_TOKENS


def test_out_of_memory_never_raises_a_budget(kit, model, make_engine):
    model.on_forward = holds(30, MemoryError())
    engine = make_engine(max_num_batched_tokens=64)
    kit.check(kit.run_all(engine, tens(kit, 12)))
    assert engine.scheduler.max_num_batched_tokens == 64


def test_one_request_that_is_too_large_for_memory_leaves_the_budget(kit, model, make_engine):
    """No budget would help it: requests after it must not pay for it."""
    model.on_forward = holds(5000, MemoryError())
    engine = make_engine(max_num_batched_tokens=4096)
    for _ in range(5):
        (huge,) = kit.run_all(engine, [kit.request([1] * 6000)])
        assert "not enough memory" in str(huge.error)
    assert engine.scheduler.max_num_batched_tokens == 4096


def test_batches_grow_again_once_memory_is_available(kit, model, make_engine):
    model.on_forward = holds(1000, MemoryError())
    engine = make_engine(max_num_batched_tokens=4096)
    kit.check(kit.run_all(engine, tens(kit, 409)))
    assert engine.scheduler.max_num_batched_tokens <= 1000
    model.on_forward = lambda _: None
    for _ in range(12 * INITIAL_RAISE_AFTER_BATCHES):
        kit.check(kit.run_all(engine, tens(kit, 1)))
    assert engine.scheduler.max_num_batched_tokens == 4096
    model.seen.clear()
    kit.check(kit.run_all(engine, tens(kit, 1228)))
    assert [sum(map(len, sequences)) for sequences in model.seen] == [4090, 4090, 4090, 10]


def test_the_memory_of_a_batch_that_ran_out_of_memory_is_freed(kit, model, make_engine):
    """An object that holds the error, such as an output, must not keep the hidden states of all layers alive."""
    held = []

    class Rows:
        def __init__(self):
            held.append(weakref.ref(self))

    def on_forward(_):
        rows = Rows()
        assert rows is not None
        raise MemoryError

    model.on_forward = on_forward
    (request,) = kit.run_all(make_engine(), [kit.request([1])])
    assert isinstance(request.error, InsufficientMemoryError)
    assert request.error.__cause__ is not None
    assert [ref() for ref in held] == [None]


def test_other_failures_do_not_change_the_budget(kit, model, make_engine):
    model.on_forward = kit.fails_on(POISON)
    engine = make_engine(max_num_batched_tokens=4096)
    kit.run_all(engine, [*tens(kit, 50), kit.request([POISON])])
    assert engine.scheduler.max_num_batched_tokens == 4096
