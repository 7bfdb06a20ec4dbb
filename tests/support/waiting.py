"""Waits of tests for what other threads and processes cause; they show the end of a call that ended too early."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

Call = Future[Any] | asyncio.Future[Any]
PATIENCE_S = 300.0  # a busy machine is slow, and a test waits no longer than it must
POLL_S = 0.01
MAX_SHOWN_CHARS = 500


def eventually(check: Callable[[], object], *asked: Call) -> None:
    """Wait until a condition holds.

    Args:
        check: The condition.
        asked: Calls that cannot end before it holds: if one does, the test fails at once and shows its end.
    """
    for _ in _polls(check, asked):
        time.sleep(POLL_S)


async def eventually_on_loop(check: Callable[[], object], *asked: Call) -> None:
    """Wait like ``eventually``, while the event loop runs."""
    for _ in _polls(check, asked):
        await asyncio.sleep(POLL_S)


def _polls(check: Callable[[], object], asked: tuple[Call, ...]) -> Iterator[None]:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        ended = [end_of(call) for call in asked if call.done()]
        assert not ended or check(), f"calls ended too early: {'; '.join(ended)}"
        assert time.monotonic() < deadline, "it did not come about"
        yield


def end_of(call: Call) -> str:
    """Return the exception or the result of an ended call, and of an HTTP response its status and body."""
    if call.cancelled():
        return "cancelled"
    if (error := call.exception()) is not None:
        return repr(error)
    result = call.result()
    shown = f"{result.status_code} {result.text}" if hasattr(result, "status_code") else repr(result)
    return shown[:MAX_SHOWN_CHARS]
