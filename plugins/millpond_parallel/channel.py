"""Channel: messages between two processes, with arrays in shared memory and fixed-size frames on a socket.

A message is a Python object. Its structure is pickled; its arrays are copied into the shared memory as they are
(pickle's protocol 5, out of band). A message that does not fit into the ring gets shared memory of its own, whose file
descriptor is sent with the frame: a sender never waits for space.
"""

import array
import os
import pickle
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import IntEnum
from io import BytesIO
from typing import Any, NamedTuple

from millpond_parallel import memory

FRAME = struct.Struct("<BxxxxxxxQQQQ")  # kind, number of the message, offset and size in the ring, freed offset
OWN_MEMORY = 2**64 - 1  # in place of an offset: the message is in the memory whose descriptor comes with the frame
SIZE = struct.Struct("<Q")
NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)


class Kind(IntEnum):
    """The kind of a message."""

    SETUP = 1
    READY = 2
    FAILED = 3
    BATCH = 4
    RESULT = 5
    PROGRESS = 6
    CLOSE = 7


class Message(NamedTuple):
    """A received message.

    Attributes:
        kind: Its kind.
        number: The number of the batch it is about, or 0.
        content: Its object.
        error: The exception that loading the object raised, such as for a type that only the sender can import.
    """

    kind: Kind
    number: int
    content: Any
    error: Exception | None = None


class ChannelClosedError(Exception):
    """The other process has closed its end or has ended."""


class Channel:
    """One end of a connection. Any thread may send; one thread receives.

    Args:
        connection: The socket.
        outgoing: The descriptor of the memory that this end writes.
        incoming: The descriptor of the memory that the other end writes.
    """

    def __init__(self, connection: socket.socket, outgoing: int, incoming: int) -> None:
        self._socket = connection
        self._outgoing = memory.map_all(outgoing)
        self._incoming = memoryview(memory.map_all(incoming))
        self._ring = memory.Ring(len(self._outgoing))
        self._read = 0  # the offset up to which the incoming ring has been read
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def send(self, kind: Kind, number: int = 0, content: object = None) -> None:
        """Send a message.

        Raises:
            ChannelClosedError: If the other process has ended.
            TypeError: If the content contains an object that cannot be pickled.
        """
        parts = _encode(content)
        size = _size(parts)
        with self._lock:
            offset = self._ring.allocate(size)
            try:
                if offset is None:
                    self._send_own(kind, number, parts, size)
                else:
                    _write(memoryview(self._outgoing), offset % self._ring.capacity, parts)
                    self._send_frame(FRAME.pack(kind, number, offset, size, self._read))
            except OSError as error:
                raise ChannelClosedError(str(error)) from error

    def receive(self, timeout: float | None = None) -> Message | None:
        """Return the next message; None if none arrives within the timeout in seconds.

        Raises:
            ChannelClosedError: If the other process has closed the connection.
        """
        if not self._poll.poll(None if timeout is None else timeout * 1000):
            return None
        frame, descriptors = self._receive_frame()
        kind, number, offset, size, freed = FRAME.unpack(frame)
        self._ring.freed = freed
        if offset != OWN_MEMORY:
            parts = _read(self._incoming, offset % len(self._incoming))
            self._read = offset + memory.aligned(size)
            return _message(kind, number, parts)
        (descriptor,) = descriptors
        with memory.map_all(descriptor) as mapped, memoryview(mapped) as view:
            os.close(descriptor)
            parts = _read(view, 0)
        return _message(kind, number, parts)

    def close(self) -> None:
        """Close this end: the other end receives the messages sent before, then ``ChannelClosedError``.

        Any thread may call it. The descriptor stays open until ``release``.
        """
        with suppress(OSError):  # the other process has ended
            self._socket.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Close the socket, after the thread that receives has ended."""
        with self._lock:
            self._socket.close()

    def _send_own(self, kind: Kind, number: int, parts: "Sequence[memoryview]", size: int) -> None:
        descriptor = memory.create(size)
        try:
            with memory.map_all(descriptor) as mapped, memoryview(mapped) as view:
                _write(view, 0, parts)
            self._send_frame(FRAME.pack(kind, number, OWN_MEMORY, size, self._read), [descriptor])
        finally:
            os.close(descriptor)

    def _send_frame(self, frame: bytes, descriptors: Sequence[int] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sent = self._socket.sendmsg([frame], rights, NO_SIGNAL)
        if sent < len(frame):
            self._socket.sendall(frame[sent:], NO_SIGNAL)

    def _receive_frame(self) -> tuple[bytes, list[int]]:
        frame, descriptors = b"", list[int]()
        while len(frame) < FRAME.size:
            try:
                part, received, _, _ = socket.recv_fds(self._socket, FRAME.size - len(frame), 1)
            except OSError as error:
                raise ChannelClosedError(str(error)) from error
            if not part:
                raise ChannelClosedError("the other process has closed the connection")
            frame += part
            descriptors += received
        return frame, descriptors


class _Pickler(pickle.Pickler):
    """Pickles tensors as arrays, whose data is not copied into the pickle."""

    def reducer_override(self, value: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(value, torch.Tensor):
            return NotImplemented
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return _tensor, (flat, value.dtype, tuple(value.shape))


def _tensor(flat: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    import torch  # noqa: PLC0415  an engine process is pinned to its cores before it imports torch

    return torch.from_numpy(flat).view(dtype).reshape(shape)


def _encode(content: object) -> list[memoryview]:
    """Return the pickled structure of an object, followed by the data of its arrays."""
    buffers: list[pickle.PickleBuffer] = []
    collect: Callable[[pickle.PickleBuffer], Any] = buffers.append
    file = BytesIO()
    _Pickler(file, protocol=5, buffer_callback=collect).dump(content)
    return [file.getbuffer(), *(buffer.raw() for buffer in buffers)]


def _size(parts: Sequence[memoryview]) -> int:
    """Return the size of a message: the number of its parts, their sizes, then the aligned parts."""
    return memory.aligned(SIZE.size * (len(parts) + 1)) + sum(memory.aligned(part.nbytes) for part in parts)


def _write(target: memoryview, position: int, parts: Sequence[memoryview]) -> None:
    header = b"".join(map(SIZE.pack, (len(parts), *(part.nbytes for part in parts))))
    target[position : position + len(header)] = header
    position += memory.aligned(len(header))
    for part in parts:
        target[position : position + part.nbytes] = part
        position += memory.aligned(part.nbytes)


def _read(source: memoryview, position: int) -> list[bytearray]:
    """Return copies of the parts of a message."""
    (count,) = SIZE.unpack_from(source, position)
    sizes = [SIZE.unpack_from(source, position + SIZE.size * (1 + index))[0] for index in range(count)]
    position += memory.aligned(SIZE.size * (count + 1))
    parts: list[bytearray] = []
    for size in sizes:
        parts.append(bytearray(source[position : position + size]))
        position += memory.aligned(size)
    return parts


def _message(kind: int, number: int, parts: Sequence[bytearray]) -> Message:
    try:
        content = pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301  from another process of this program
    except Exception as error:  # noqa: BLE001  loading an object of a plugin may raise anything
        return Message(Kind(kind), number, None, error)
    return Message(Kind(kind), number, content)
