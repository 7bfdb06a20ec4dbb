"""Whether anybody still waits for what a thread prepares: what takes long asks that before it begins."""

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from millpond.types.errors import RequestCancelledError

T = TypeVar("T")
_left: ContextVar[threading.Event | None] = ContextVar("left", default=None)


def run_awaited(left: threading.Event, work: Callable[[], T]) -> T:
    """Do some work in this thread.

    Args:
        left: Set by who waits for the result, from any thread, when it is wanted no more.
        work: It may call ``check_awaited``.
    """
    token = _left.set(left)
    try:
        return work()
    finally:
        _left.reset(token)


def check_awaited() -> None:
    """Go on only if somebody waits for what this thread does, or nobody has said.

    Raises:
        RequestCancelledError: If nobody waits any more.
    """
    left = _left.get()
    if left is not None and left.is_set():
        message = "nobody waits for the result any more"
        raise RequestCancelledError(message)
