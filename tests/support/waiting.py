"""Waits of tests for what other threads and processes cause; they show the end of a call that ended too early."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future

PATIENCE_S = 300.0  # a busy machine is slow, and a test waits no longer than it must
POLL_S = 0.01
MAX_SHOWN_CHARS = 500


def eventually(check: Callable[[], object], *asked: "Future[Any]") -> None:
    """Wait until a condition holds.

    Args:
        check: The condition.
        asked: Calls that cannot end before it holds: if one does, the test fails at once and shows its end.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        ended = [end_of(call) for call in asked if call.done()]
        assert not ended or check(), f"calls ended too early: {'; '.join(ended)}"
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(POLL_S)


def end_of(call: "Future[Any]") -> str:
    """Return the exception or the result of an ended call, and of an HTTP response its status and body."""
    if (error := call.exception()) is not None:
        return repr(error)
    result = call.result()
    shown = f"{result.status_code} {result.text}" if hasattr(result, "status_code") else repr(result)
    return shown[:MAX_SHOWN_CHARS]
