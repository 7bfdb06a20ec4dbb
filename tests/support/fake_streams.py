"""Streams of a fake device: copies to the host take place only when their mark is passed, as late as possible."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor

SPOILT = 0xFF  # each byte of memory that a copy has not written yet; NaN as a float


class FakeStreams:
    """A device that lags behind: until a mark is passed, copies to the host have not begun.

    Attributes:
        log: The operations in their order: "in", "out", "mark N", and "passed N".
        fails_at: The numbers of the marks at which the device reports an error.
        may_pass: Marks are passed only while it is set.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.fails_at: set[int] = set()
        self.may_pass = threading.Event()
        self.may_pass.set()
        self._marks = 0
        self._unpassed: list[Callable[[], None]] = []

    def allocate(self, num_bytes: int) -> Tensor:
        return torch.full((num_bytes,), SPOILT, dtype=torch.uint8)

    def copy_in(self, source: Tensor) -> Tensor:
        self.log.append("in")
        copy = source.clone()

        def check() -> None:
            assert torch.equal(source, copy), "memory was overwritten while the device could still read it"

        self._unpassed.append(check)
        return copy

    def copy_out(self, source: Tensor, target: Tensor) -> None:
        self.log.append("out")
        target.view(torch.uint8).fill_(SPOILT)
        self._unpassed.append(lambda: target.copy_(source))

    def mark(self) -> "FakeMark":
        self._marks += 1
        self.log.append(f"mark {self._marks}")
        operations, self._unpassed = self._unpassed, []
        return FakeMark(self, self._marks, operations)


class FakeMark:
    def __init__(self, streams: FakeStreams, number: int, operations: list[Callable[[], None]]) -> None:
        self._streams, self._number, self._operations = streams, number, operations

    def synchronize(self) -> None:
        assert self._streams.may_pass.wait(120), "the device was never allowed to continue"
        for operation in self._operations:
            operation()
        self._streams.log.append(f"passed {self._number}")
        if self._number in self._streams.fails_at:
            message = "an illegal memory access was encountered"
            raise RuntimeError(message)
