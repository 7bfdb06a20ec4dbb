"""Shared memory without a name: it disappears with the last process that has mapped it, however that process ends."""

import mmap
import os
import tempfile
from typing import Final

ALIGNMENT: Final = 64
"""Arrays start at multiples of this number of bytes."""


def aligned(size: int) -> int:
    """Return a size rounded up to a multiple of ``ALIGNMENT``."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def create(size: int) -> int:
    """Return the file descriptor of new shared memory of a size in bytes."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("millpond")
    else:  # macOS: a file that is deleted already
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, size)
    return descriptor


def map_all(descriptor: int) -> mmap.mmap:
    """Map the whole of a shared memory; the descriptor can be closed afterwards."""
    return mmap.mmap(descriptor, os.fstat(descriptor).st_size)


class Ring:
    """The allocation of messages in a ring of bytes; the reader frees them in the order in which they were written.

    Offsets count all bytes since the start; the position in the memory is the offset modulo the capacity. A message is
    never split: if it does not fit before the end of the memory, it starts at position 0.

    Attributes:
        capacity: The size of the memory in bytes.
        freed: The offset up to which the reader has freed messages.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.freed = 0
        self._end = 0

    def allocate(self, size: int) -> int | None:
        """Return the offset of a new message of a size in bytes; None if there is not enough free space."""
        start, size = self._end, aligned(size)
        position = start % self.capacity
        if position + size > self.capacity:
            start += self.capacity - position
        if start + size - self.freed > self.capacity:
            return None
        self._end = start + size
        return start
