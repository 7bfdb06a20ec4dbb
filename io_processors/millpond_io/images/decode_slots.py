"""DecodeSlots: limits the images that are decoded at the same time, and returns the memory of large ones to the OS."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from millpond.machine import trim_heap
from millpond.pipeline.cancellation import check_cancelled

NUM_SLOTS = 2
MAX_SHARED_PIXELS = 2**24  # the limit for one untrusted image; larger ones take all slots
TRIM_MIN_PIXELS = 2**22  # smaller images leave little freed memory


class DecodeSlots:
    """Lets two threads decode images at the same time; images with more than ``MAX_SHARED_PIXELS`` take both slots.

    A pixel takes up to some tens of bytes while it is decoded and preprocessed.
    """

    def __init__(self) -> None:
        self._entry = threading.Lock()
        self._slots = threading.BoundedSemaphore(NUM_SLOTS)

    @contextmanager
    def acquire(self, pixels: int) -> Iterator[None]:
        """Wait for a slot and hold it.

        Args:
            pixels: The total number of pixels of the images that are decoded.

        Raises:
            RequestCancelledError: If the request was cancelled.
        """
        num_slots = 1 if pixels <= MAX_SHARED_PIXELS else NUM_SLOTS
        with self._entry:  # prevents a deadlock of two threads that each hold one slot and wait for the other
            for _ in range(num_slots):
                self._slots.acquire()
        try:
            check_cancelled()
            yield
        finally:
            self._slots.release(num_slots)
            if pixels >= TRIM_MIN_PIXELS:
                trim_heap()


DECODE_SLOTS = DecodeSlots()  # one for the process, for all models
