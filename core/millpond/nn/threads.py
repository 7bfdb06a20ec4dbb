"""How many threads an op may share its work among: one beside other batches, all of them where a batch is alone."""

import threading

import torch

_here = threading.local()


class ThreadBudget:
    """The threads that compute batches side by side. One that computes while the others wait may use all threads."""

    def __init__(self, threads: int) -> None:
        """Keep how many threads an op may use where a batch is alone."""
        self._threads = threads
        self._busy = 0
        self._lock = threading.Lock()

    @property
    def share(self) -> int:
        """How many threads an op of a member may use now."""
        return self._threads if self._busy == 1 else 1

    def join(self) -> None:
        """Make the calling thread a member, for good."""
        _here.crew = self

    def __enter__(self) -> None:
        """Begin a batch."""
        with self._lock:
            self._busy += 1

    def __exit__(self, *error: object) -> None:
        """End it."""
        with self._lock:
            self._busy -= 1


def op_threads() -> int:
    """How many threads an op that is called here may use, the calling one among them.

    On the engine's workers it changes from one op to the next; a result must not depend on it. Elsewhere it is torch's
    number.
    """
    crew: ThreadBudget | None = getattr(_here, "crew", None)
    return torch.get_num_threads() if crew is None else crew.share
