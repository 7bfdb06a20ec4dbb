"""Turns: few images are decoded at a time, and the memory that large ones took is given back to the system."""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from millpond.pipeline.cancellation import check_cancelled

FULL = 2**24  # pixels: of one image that may be as large as others' images may be
LARGE = 2**22  # pixels, from which on it is worth looking for what was freed


class Turns:
    """Lets two at a time work on images; who has more pixels than one full image works alone.

    A pixel takes up to some tens of bytes on its way to a model.
    """

    def __init__(self) -> None:
        self._entry = threading.Lock()
        self._places = threading.BoundedSemaphore(2)

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait for a turn, and have it.

        Args:
            pixels: Of all images that are decoded in it.

        Raises:
            RequestCancelledError: If nobody waits for the images any more.
        """
        places = 1 if pixels <= FULL else 2
        with self._entry:  # two that each have one place and wait for another would wait for ever
            for _ in range(places):
                self._places.acquire()
        try:
            check_cancelled()
            yield
        finally:
            self._places.release(places)
            if pixels >= LARGE:
                give_back()


TURNS = Turns()  # of the process, whatever the number of models


def give_back() -> None:
    """Have the C library return what was freed: glibc keeps blocks of up to 32 MiB, of each thread its own."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # others have none
        if trim is not None:
            trim(0)
