"""Thread budget of ops: one thread while several batches are computed, all threads for a single batch."""

import threading

import torch

_local = threading.local()


class ThreadBudget:
    """The worker threads that compute batches; a worker that is the only busy one may use all threads."""

    def __init__(self, threads: int) -> None:
        """Set the number of threads that an op may use while only one batch is computed."""
        self._threads = threads
        self._busy = 0
        self._lock = threading.Lock()

    @property
    def share(self) -> int:
        """The number of threads that an op of a worker may use now."""
        return self._threads if self._busy == 1 else 1

    def join(self) -> None:
        """Add the calling thread to the workers, permanently."""
        _local.budget = self

    def __enter__(self) -> None:
        """Mark the start of a batch."""
        with self._lock:
            self._busy += 1

    def __exit__(self, *error: object) -> None:
        """Mark the end of a batch."""
        with self._lock:
            self._busy -= 1


def op_threads() -> int:
    """Return the number of threads that an op in the calling thread may use, including the calling thread.

    On the engine's workers the number may change between ops, so results must not depend on it. In other threads it is
    ``torch.get_num_threads()``.
    """
    budget: ThreadBudget | None = getattr(_local, "budget", None)
    return torch.get_num_threads() if budget is None else budget.share
