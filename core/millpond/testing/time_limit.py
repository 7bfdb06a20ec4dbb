"""Time limits for conformance tests: what hangs fails its test, with the place where it hangs, and the run goes on.

pytest loads the hooks with ``millpond.testing.fixtures``; they hold for tests whose class has ``time_limit``.
"""

import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

import pytest

AGAIN_SECONDS = 0.5  # a test that catches the first interruption is interrupted again
HARD_FACTOR = 2  # times the limit, and
HARD_SECONDS = 30.0  # more, after which the process ends: it hangs where Python cannot interrupt it
SHOWN_FRAMES = 3
WAITING = frozenset({"threading", "queue", "selectors", "concurrent.futures.thread", "concurrent.futures._base"})
IDLE = ("millpond.engine.", "tqdm.", "execnet.")  # whose threads wait for work
Item = TypeVar("Item")
Result = TypeVar("Result")


class TimeLimitExceeded(KeyboardInterrupt):
    """A test has taken longer than it may. An interruption, which the code under test is to pass on."""


@dataclass
class _Timer:
    """The limit of the test that runs.

    Attributes:
        places: Where it hung when the limit was reached; empty if it was not.
        stderr: A copy of the file descriptor that pytest does not capture.
    """

    places: str = ""
    stderr: int | None = None
    depth: int = field(default=0)


_timer = _Timer()


def pytest_configure() -> None:
    """Keep a way to write where pytest does not capture."""
    if _timer.stderr is None and sys.__stderr__ is not None:
        _timer.stderr = os.dup(sys.__stderr__.fileno())


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Hold a test of a conformance class to its time."""
    limit = _limit_of(pyfuncitem)
    if limit is None:
        return (yield)
    with limited(limit, pyfuncitem.name):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: pytest.FixtureRequest) -> Generator[None, Any, Any]:
    """Hold the fixtures of such a test to its time."""
    limit = _limit_of(request.node)
    if limit is None:
        return (yield)
    with limited(limit, f"the fixture {fixturedef.argname}"):
        return (yield)


@contextmanager
def limited(seconds: float, what: str) -> Generator[None, None, None]:
    """Fail with the place where it hangs if the block takes longer; only in the main thread, where there are alarms.

    Args:
        seconds: How long it may take.
        what: What the message calls it.
    """
    has_alarm = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()
    if not has_alarm or _timer.depth:  # a fixture that another one asks for runs within the limit of that one
        yield
        return
    _timer.depth, _timer.places = 1, ""
    before = signal.signal(signal.SIGALRM, _interrupt)
    if _timer.stderr is not None:
        faulthandler.dump_traceback_later(seconds * HARD_FACTOR + HARD_SECONDS, exit=True, file=_timer.stderr)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    except BaseException:
        _stop(before)
        if not _timer.places:
            raise
        raise pytest.fail.Exception(_message(seconds, what), pytrace=False) from None
    finally:
        _stop(before)
        _timer.depth = 0
    if _timer.places:  # it caught the interruption, and went on
        pytest.fail(_message(seconds, what), pytrace=False)


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Return the results of items in order, computed by some threads, which do not keep the process if they hang."""
    results: list[Any] = [None] * len(items)
    errors: list[BaseException] = []
    places = iter(range(len(items)))
    lock = threading.Lock()

    def work() -> None:
        while not errors:
            with lock:
                place = next(places, None)
            if place is None:
                return
            try:
                results[place] = function(items[place])
            except BaseException as error:  # noqa: BLE001  raised again in the thread of the test
                errors.append(error)

    workers = [threading.Thread(target=work, name=f"conformance-{n}", daemon=True) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return results


def _limit_of(node: Any) -> float | None:
    limit = getattr(getattr(node, "cls", None), "time_limit", None)
    return float(limit) if isinstance(limit, int | float) and limit > 0 else None


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number
    if not _timer.places:
        _timer.places = _where(frame)
    raise TimeLimitExceeded


def _stop(before: Any) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    faulthandler.cancel_dump_traceback_later()


def _message(seconds: float, what: str) -> str:
    return (
        f"{what} hangs: it has not ended within {seconds:g} seconds (time_limit of the class). It was in\n"
        f"{_timer.places}"
    )


def _where(frame: FrameType | None) -> str:
    """The innermost lines of the test's thread, and of others that do more than wait."""
    lines = ["the test:", *_innermost(frame)]
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, other in sys._current_frames().items():  # noqa: SLF001  the one way to see other threads
        caller = _caller(other)
        if ident != threading.get_ident() and caller is not None and not _module(caller).startswith(IDLE):
            lines += [f"the thread {names.get(ident, ident)}:", *_innermost(caller)]
    return "\n".join(lines)


def _innermost(frame: FrameType | None) -> list[str]:
    stack = traceback.extract_stack(_caller(frame))[-SHOWN_FRAMES:]
    return [f"  {one.filename}:{one.lineno} in {one.name}: {one.line}" for one in stack]


def _caller(frame: FrameType | None) -> FrameType | None:
    """The innermost frame outside of what merely waits."""
    while frame is not None and _module(frame) in WAITING:
        frame = frame.f_back
    return frame


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
