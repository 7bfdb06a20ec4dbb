"""Cancellation of preprocessing in threads: long work checks between its steps if the result is still needed."""

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Generic, TypeVar

from millpond.types.errors import RequestCancelledError

T = TypeVar("T")
NOT_NEEDED = "the request was cancelled: its result is not needed any more"
_cancelled: ContextVar[threading.Event | None] = ContextVar("cancelled", default=None)


class CancellableWork(Generic[T]):
    """A function for a thread that may call ``check_cancelled``.

    After ``cancel`` it is released with its arguments, because thread pools keep references to cancelled work.

    Args:
        work: The function.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work
        self._cancelled = threading.Event()

    def __call__(self) -> T:
        """Call the function.

        Raises:
            RequestCancelledError: If the work was cancelled.
        """
        work, self._work = self._work, None
        if work is None:
            raise RequestCancelledError(NOT_NEEDED)
        token = _cancelled.set(self._cancelled)
        try:
            return work()
        finally:
            _cancelled.reset(token)

    def cancel(self) -> None:
        """Report that the result is not needed any more; any thread may call it."""
        self._work = None
        self._cancelled.set()


def check_cancelled() -> None:
    """Check that the work of this thread was not cancelled; outside ``CancellableWork`` it never is.

    Raises:
        RequestCancelledError: If it was cancelled.
    """
    cancelled = _cancelled.get()
    if cancelled is not None and cancelled.is_set():
        raise RequestCancelledError(NOT_NEEDED)
