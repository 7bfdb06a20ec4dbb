"""Time limits for conformance tests: a test that hangs fails with its stack, and the run continues.

pytest loads the hooks with ``millpond.testing.fixtures``; they apply to tests whose class has a ``time_limit``.
"""

import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import pytest

REPEAT_INTERVAL_S = 0.5  # a test that catches the first interruption is interrupted again
# After HARD_FACTOR times the limit plus HARD_EXTRA_S, the process exits: it hangs where Python cannot interrupt it.
HARD_FACTOR = 2
HARD_EXTRA_S = 30.0
MAX_SHOWN_FRAMES = 3
WAITING_MODULES = frozenset(
    {"threading", "queue", "selectors", "concurrent.futures.thread", "concurrent.futures._base"}
)
IDLE_MODULE_PREFIXES = ("millpond.engine.", "tqdm.", "execnet.")  # modules whose threads wait for work
Item = TypeVar("Item")
Result = TypeVar("Result")


class TimeLimitExceeded(KeyboardInterrupt):
    """Interrupts a test that exceeds its time limit. The code under test should not catch it."""


@dataclass
class _Timer:
    """The state of the current time limit.

    Attributes:
        stacks: The stacks of the threads when the limit was reached; empty before that.
        stderr: A copy of the original stderr, which pytest does not capture.
        is_active: True while a limit applies.
    """

    stacks: str = ""
    stderr: int | None = None
    is_active: bool = False


_timer = _Timer()


def pytest_configure() -> None:
    """Keep a copy of stderr that pytest does not capture."""
    if _timer.stderr is None and sys.__stderr__ is not None:
        _timer.stderr = os.dup(sys.__stderr__.fileno())


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Apply the time limit of a conformance class to its tests."""
    limit = _limit_of(pyfuncitem)
    if limit is None:
        return (yield)
    with limited(limit, pyfuncitem.name):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: pytest.FixtureRequest) -> Generator[None, Any, Any]:
    """Apply the time limit of a conformance class to its fixtures."""
    limit = _limit_of(request.node)
    if limit is None:
        return (yield)
    with limited(limit, f"the fixture {fixturedef.argname}"):
        return (yield)


@contextmanager
def limited(seconds: float, what: str) -> Generator[None, None, None]:
    """Fail with the current stacks if the block takes longer; only in the main thread, which receives alarms.

    Args:
        seconds: The time limit.
        what: The name of the block, for the message.
    """
    has_alarm = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()
    if not has_alarm or _timer.is_active:  # a fixture of a fixture runs within the limit of the latter
        yield
        return
    _timer.is_active, _timer.stacks = True, ""
    before = signal.signal(signal.SIGALRM, _interrupt)
    if _timer.stderr is not None:
        faulthandler.dump_traceback_later(seconds * HARD_FACTOR + HARD_EXTRA_S, exit=True, file=_timer.stderr)
    signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_INTERVAL_S)
    try:
        yield
    except BaseException:
        _stop(before)
        if not _timer.stacks:
            raise
        raise pytest.fail.Exception(_message(seconds, what), pytrace=False) from None
    finally:
        _stop(before)
        _timer.is_active = False
    if _timer.stacks:  # the block caught the interruption and continued
        pytest.fail(_message(seconds, what), pytrace=False)


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Return the results of items in order, computed by daemon threads, which do not keep the process alive."""
    results: list[Any] = [None] * len(items)
    errors: list[BaseException] = []
    indices = iter(range(len(items)))
    lock = threading.Lock()

    def work() -> None:
        while not errors:
            with lock:
                index = next(indices, None)
            if index is None:
                return
            try:
                results[index] = function(items[index])
            except BaseException as error:  # noqa: BLE001  raised again in the test's thread
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
    if not _timer.stacks:
        _timer.stacks = _stacks(frame)
    raise TimeLimitExceeded


def _stop(before: Any) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    faulthandler.cancel_dump_traceback_later()


def _message(seconds: float, what: str) -> str:
    return (
        f"{what} hangs: it did not end within {seconds:g} seconds (time_limit of the class). The stacks:\n"
        f"{_timer.stacks}"
    )


def _stacks(frame: FrameType | None) -> str:
    """The innermost frames of the test's thread, and of other threads that are not waiting."""
    lines = ["the test:", *_innermost(frame)]
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, other in sys._current_frames().items():  # noqa: SLF001  the only way to read the stacks of other threads
        caller = _caller(other)
        if (
            ident != threading.get_ident()
            and caller is not None
            and not _module(caller).startswith(IDLE_MODULE_PREFIXES)
        ):
            lines += [f"the thread {names.get(ident, ident)}:", *_innermost(caller)]
    return "\n".join(lines)


def _innermost(frame: FrameType | None) -> list[str]:
    stack = traceback.extract_stack(_caller(frame))[-MAX_SHOWN_FRAMES:]
    return [f"  {entry.filename}:{entry.lineno} in {entry.name}: {entry.line}" for entry in stack]


def _caller(frame: FrameType | None) -> FrameType | None:
    """The innermost frame outside of modules that only wait."""
    while frame is not None and _module(frame) in WAITING_MODULES:
        frame = frame.f_back
    return frame


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
