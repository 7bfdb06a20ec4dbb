"""Thread budget of ops: one thread while several batches are computed, all threads for a single batch."""

import threading
from functools import partial
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


class OpThreads(threading.local):
    """The number of threads that an op in the calling thread may use, including the calling thread.

    On the engine's workers the number may change between ops, so results must not depend on it. In other threads it is
    ``torch.get_num_threads()``.

    Attributes:
        count: Returns the number; no Python code runs, because kernels ask for it in each layer.
    """

    def __init__(self) -> None:
        """Create the value of a thread."""
        self.count: Callable[[], int] = torch.get_num_threads

    def __call__(self) -> int:
        """Return the number."""
        return self.count()


op_threads = OpThreads()


class ThreadBudget:
    """The worker threads that compute batches; a worker that is the only busy one may use all threads.

    Attributes:
        share: The number of threads that an op of a worker may use now.
    """

    def __init__(self, threads: int) -> None:
        """Set the number of threads that an op may use while only one batch is computed."""
        self.share = 1
        self._threads = threads
        self._busy = 0
        self._lock = threading.Lock()

    def join(self) -> None:
        """Add the calling thread to the workers, permanently."""
        op_threads.count = partial(getattr, self, "share")

    def __enter__(self) -> None:
        """Mark the start of a batch."""
        with self._lock:
            self._busy += 1
            self.share = self._threads if self._busy == 1 else 1

    def __exit__(self, *error: object) -> None:
        """Mark the end of a batch."""
        with self._lock:
            self._busy -= 1
            self.share = self._threads if self._busy == 1 else 1
