"""Messages between processes: arrays in shared memory, of any size, in order, until the other end closes."""

import os
import pickle
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from millpond_parallel import memory
from millpond_parallel.channel import Channel, ChannelClosedError, Kind

RING_BYTES = 4096
SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def ends():
    """Both ends of a connection with small rings."""
    sockets = socket.socketpair()
    first, second = memory.create(RING_BYTES), memory.create(RING_BYTES)
    pair = Channel(sockets[0], first, second), Channel(sockets[1], second, first)
    os.close(first)
    os.close(second)
    yield pair
    for it in pair:
        it.close()
        it.release()


def exchange(ends, content, number=0):
    """Send an object over a connection and return what arrives."""
    sender, receiver = ends
    sender.send(Kind.BATCH, number, content)
    message = receiver.receive(timeout=60)
    assert message.error is None
    assert (message.kind, message.number) == (Kind.BATCH, number)
    return message.content


@pytest.mark.parametrize("size", [0, 1, 100, RING_BYTES, 100 * RING_BYTES])
def test_arrays_arrive_as_they_were_sent(ends, size):
    array = np.arange(size, dtype=np.float32)
    received = exchange(ends, {"array": array, "name": "x"}, number=7)
    assert received["name"] == "x"
    assert received["array"].dtype == np.float32
    np.testing.assert_array_equal(received["array"], array)
    received["array"][:] = 0  # a copy, which callers may change


def test_data_of_arrays_is_not_pickled(ends, monkeypatch):
    sizes = []
    loads = pickle.loads
    monkeypatch.setattr(pickle, "loads", lambda data, **options: sizes.append(len(data)) or loads(data, **options))
    exchange(ends, [np.zeros(10_000), torch.zeros(10_000)])
    assert 0 < sizes[0] < 1000


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_arrive_as_they_were_sent(ends, dtype):
    tensor = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
    received = exchange(ends, tensor.T)
    assert received.dtype == dtype
    assert torch.equal(received, tensor.T)


def test_many_messages_of_many_sizes_keep_their_order(ends):
    sender, receiver = ends
    sizes = [(number * 397) % 3000 for number in range(300)]

    def send():
        for number, size in enumerate(sizes):
            sender.send(Kind.RESULT, number, np.full(size, number % 251, np.uint8))

    thread = threading.Thread(target=send)
    thread.start()
    for number, size in enumerate(sizes):
        message = receiver.receive(timeout=60)
        assert message.number == number
        assert message.content.shape == (size,)
        assert (message.content == number % 251).all()
        receiver.send(Kind.PROGRESS)  # frees the ring of the sender
        assert sender.receive(timeout=60).kind is Kind.PROGRESS
    thread.join()


def test_messages_do_not_wait_for_a_reader(ends):
    sender, receiver = ends
    for number in range(50):  # many times the size of the ring
        sender.send(Kind.RESULT, number, np.full(1000, number, np.uint8))
    assert [int(receiver.receive(timeout=60).content[0]) for _ in range(50)] == list(range(50))


def test_a_closed_end_is_noticed_after_the_last_message(ends):
    sender, receiver = ends
    sender.send(Kind.RESULT, 1, "last")
    sender.close()
    assert receiver.receive(timeout=60).content == "last"
    with pytest.raises(ChannelClosedError):
        receiver.receive(timeout=60)
    with pytest.raises(ChannelClosedError):
        receiver.send(Kind.RESULT)


def test_receive_returns_none_after_the_timeout(ends):
    assert ends[0].receive(timeout=0.01) is None


def fails():
    raise ModuleNotFoundError("of the other process")


class Unreadable:
    """An object that cannot be loaded."""

    def __reduce__(self):
        return fails, ()


def test_an_object_that_cannot_be_loaded_is_an_error_of_its_message(ends):
    sender, receiver = ends
    sender.send(Kind.BATCH, 3, Unreadable())
    message = receiver.receive(timeout=60)
    assert message.number == 3
    assert isinstance(message.error, ModuleNotFoundError)
    assert exchange(ends, "next") == "next"


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="needs /dev/shm")
def test_shared_memory_has_no_name():
    before = set(SHARED_MEMORY.iterdir())
    descriptor = memory.create(RING_BYTES)
    mapped = memory.map_all(descriptor)
    os.close(descriptor)
    mapped[:4] = b"test"
    assert set(SHARED_MEMORY.iterdir()) <= before
