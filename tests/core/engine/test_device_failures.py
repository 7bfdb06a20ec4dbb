"""A device that a process cannot use again stops its engine; one that runs out of memory does not."""

import weakref

import pytest
import torch

from millpond.engine.engine import Engine
from millpond.types.config import EngineConfig
from millpond.types.errors import (
    ComponentError,
    EngineClosedError,
    InsufficientMemoryError,
    is_device_lost,
    is_out_of_memory,
)

ASSERTION = "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported at another call"


def failing(_):
    raise RuntimeError(ASSERTION)


@pytest.mark.parametrize(
    ("message", "lost", "memory"),
    [
        (ASSERTION, True, False),
        ("CUDA error: an illegal memory access was encountered", True, False),
        ("CUDA error: unspecified launch failure", True, False),
        ("unexpected input 'CUDA error: unspecified launch failure'", False, False),
        ("Triton Error [CUDA]: misaligned address", True, False),
        ("Triton Error [CUDA]: out of memory", False, True),
        ("CUDA error: out of memory", False, True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", False, True),
        ("CUDA error: invalid device ordinal", False, False),
        ("a misaligned address in a text", False, False),
    ],
)
def test_errors_of_the_device_are_distinguished(message, lost, memory):
    assert (is_device_lost(RuntimeError(message)), is_out_of_memory(RuntimeError(message))) == (lost, memory)


def test_an_error_of_a_component_is_that_of_the_device_if_it_caused_it():
    wrapped = ComponentError("the plugin failed: CUDA error: device-side assert triggered")
    assert not is_device_lost(wrapped)
    wrapped.__cause__ = RuntimeError(ASSERTION)
    assert is_device_lost(wrapped)


def test_a_message_does_not_stop_an_engine_on_the_cpu(kit, model, make_engine):
    model.on_forward = failing
    (request,) = kit.run_all(make_engine(), [kit.request([1])])
    assert "device-side assert" in str(request.error)


def test_a_lost_device_stops_the_engine_at_the_first_batch(kit, model, make_runner):
    model.on_forward = failing
    runner = make_runner(1)
    runner.device = torch.device("cuda")  # it computes on the CPU all the same
    engine = Engine(runner, EngineConfig(max_num_seqs=2))
    for request in kit.numbered(10):
        engine.add(request)
    for _ in range(2):
        with pytest.raises(
            EngineClosedError, match=r"CUDA error: device-side assert triggered\. Only another"
        ) as caught:
            engine.step()
    assert str(caught.value.__cause__) == ASSERTION
    assert len(model.seen) == 1


@pytest.mark.parametrize("chain", ["cause", "context"])
def test_memory_of_an_error_that_was_replaced_is_freed(kit, model, make_engine, chain):
    held = []

    class Rows:
        def __init__(self):
            held.append(weakref.ref(self))

    def load():
        rows = Rows()
        raise KeyError(str(rows))

    def on_forward(_):
        try:
            load()
        except KeyError as error:
            if chain == "context":
                raise MemoryError  # noqa: B904  the error is its context
            raise MemoryError from error

    model.on_forward = on_forward
    (request,) = kit.run_all(make_engine(), [kit.request([1])])
    assert isinstance(request.error, InsufficientMemoryError)
    assert [ref() for ref in held] == [None]
