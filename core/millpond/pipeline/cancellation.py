"""Cancellation of preprocessing in threads: long work checks between its steps if the result is still needed."""

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from millpond.types.errors import RequestCancelledError

T = TypeVar("T")
NOT_NEEDED = "the request was cancelled: its result is not needed any more"
_cancelled: ContextVar[threading.Event | None] = ContextVar("cancelled", default=None)


def run_cancellable(cancelled: threading.Event, work: Callable[[], T]) -> T:
    """Call ``work`` in this thread, so that it may call ``check_cancelled``.

    Args:
        cancelled: Set by the caller, from any thread, when the result is not needed any more.
        work: The function.
    """
    token = _cancelled.set(cancelled)
    try:
        return work()
    finally:
        _cancelled.reset(token)


def check_cancelled() -> None:
    """Check that the work of this thread was not cancelled; outside ``run_cancellable`` it never is.

    Raises:
        RequestCancelledError: If it was cancelled.
    """
    cancelled = _cancelled.get()
    if cancelled is not None and cancelled.is_set():
        raise RequestCancelledError(NOT_NEEDED)
