"""Batches, results and errors are the same after they were sent to another process."""

import pickle

import numpy as np
import pytest

from millpond.engine.executor import Outcome
from millpond.engine.request import PoolingRequest, Representation, SharedPrefix
from millpond.types.errors import ComponentError, EngineError, InvalidInputError, is_out_of_memory
from millpond.types.params import PoolingParams
from millpond_parallel.batches import (
    MAX_PREFIXES,
    KnownPrefixes,
    pack_batch,
    pack_results,
    unpack_batch,
    unpack_results,
)
from millpond_parallel.errors import pack_error, unpack_error

PARAMS = PoolingParams(dimensions=2)


def request(ids, **fields):
    representations = fields.pop("representations", (Representation("embed", PARAMS),))
    return PoolingRequest(input_ids=np.array(ids, dtype=np.int64), representations=representations, **fields)


def sent(packed):
    """Return a message as the other process receives it."""
    return pickle.loads(pickle.dumps(packed))


def test_a_batch_is_the_same_in_the_engine_process():
    pixels = np.arange(12, dtype=np.float32).reshape(3, 4).T
    requests = [
        request([1, 2, 3]),
        request([4], token_type_ids=np.array([1]), route="query"),
        request([], features={"pixels": pixels, "attended": 3}),
        request(
            [2**40], representations=(Representation("embed", PARAMS), Representation("token_embed", PARAMS, (0, 1)))
        ),
    ]
    received = unpack_batch(sent(pack_batch(requests)), KnownPrefixes())
    assert len(received) == len(requests)
    for before, after in zip(requests, received, strict=True):
        assert after.input_ids.dtype == np.int64
        np.testing.assert_array_equal(after.input_ids, before.input_ids)
        assert after.representations == before.representations
        assert (after.token_type_ids is None) == (before.token_type_ids is None)
        assert after.route == before.route
        assert after.features.keys() == before.features.keys()
    assert received[1].token_type_ids.tolist() == [1]
    np.testing.assert_array_equal(received[2].features["pixels"], pixels)


def test_a_shared_prefix_is_the_same_in_the_engine_process():
    prefix, other = SharedPrefix(np.array([7, 8])), SharedPrefix(np.array([9]))
    requests = [request([7, 8, 1]), request([3]), request([7, 8, 2]), request([9, 4])]
    for index, shared in ((0, prefix), (2, prefix), (3, other)):
        requests[index].state.prefix = shared
    known = KnownPrefixes()
    first, second, third, fourth = unpack_batch(sent(pack_batch(requests)), known)
    assert first.state.prefix is third.state.prefix is not fourth.state.prefix
    assert second.state.prefix is None
    assert first.state.prefix.ids.tolist() == [7, 8]
    (again, *_) = unpack_batch(sent(pack_batch(requests[:1])), known)
    assert again.state.prefix is first.state.prefix


def test_an_engine_process_keeps_the_prefixes_of_recent_calls():
    known = KnownPrefixes()
    prefixes = [known.find(number, np.array([number])) for number in range(MAX_PREFIXES + 1)]
    assert known.find(MAX_PREFIXES, np.array([0])) is prefixes[-1]
    assert known.find(0, np.array([0])) is not prefixes[0]


def test_token_ids_are_sent_as_int32():
    assert pack_batch([request([1, 30000])]).ids.dtype == np.int32


def test_requests_with_the_same_parameters_still_share_them():
    """The runner pools equal sequences with the same parameters once."""
    first, second = unpack_batch(sent(pack_batch([request([1]), request([1])])), KnownPrefixes())
    assert first.representations[0].params is second.representations[0].params


def test_results_are_the_same_in_the_program():
    requests = [request([1]), request([2]), request([3])]
    computed = [request([1]), request([2]), request([3])]
    computed[0].results = [np.arange(4, dtype=np.float32), np.ones((2, 3), np.float32)]
    computed[1].error = EngineError("not this one")
    computed[2].results = [np.empty((0, 3), np.float32), np.array([5.0], np.float32)]
    outcome = unpack_results(sent(pack_results(Outcome(computed, None, 7))), requests)
    assert outcome.error is None
    assert outcome.shared_tokens == 7
    assert outcome.requests is requests
    assert [[array.tolist() for array in it.results] for it in requests] == [
        [[0.0, 1.0, 2.0, 3.0], [[1.0] * 3] * 2],
        [],
        [[], [5.0]],
    ]
    assert requests[2].results[0].shape == (0, 3)
    assert isinstance(requests[1].error, EngineError)
    requests[0].results[0][:] = 0  # callers may change their results


def test_the_error_of_a_batch_is_the_same_in_the_program():
    requests = [request([1])]
    outcome = unpack_results(sent(pack_results(Outcome(requests, RuntimeError("kernel")))), requests)
    assert repr(outcome.error) == "RuntimeError('kernel')"


class LocalError(Exception):
    """An exception whose constructor takes other arguments than its message."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def caused():
    error = ComponentError("a pooler failed", plugin="mine", kind="pooler", name="X", public="failed")
    error.__cause__ = LocalError("one", "two")
    return error


def test_errors_keep_their_type_message_attributes_and_cause():
    error = unpack_error(sent(pack_error(caused())))
    assert isinstance(error, ComponentError)
    assert (str(error), error.plugin, error.public) == ("a pooler failed", "mine", "failed")
    assert type(error.__cause__).__name__ == "LocalError"
    assert str(error.__cause__) == "one and two"
    assert "In the engine process:" in error.__notes__[0]


def test_errors_of_arguments_keep_the_name_of_the_argument():
    error = unpack_error(sent(pack_error(InvalidInputError("no", index=2, parameter="device"))))
    assert (str(error), error.parameter) == ("prompt 2: no", "device")
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize("name", ["OutOfMemoryError", "MemoryError"])
def test_errors_of_memory_are_recognized(name):
    error = MemoryError() if name == "MemoryError" else type(name, (RuntimeError,), {})("CUDA out of memory")
    assert is_out_of_memory(unpack_error(sent(pack_error(error))))
