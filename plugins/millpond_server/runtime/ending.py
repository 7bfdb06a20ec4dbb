"""Exit of the process without waiting for threads that hang; where they hang is logged."""

import contextlib
import logging
import os
import sys
import threading
import time
import traceback
from types import FrameType
from typing import NoReturn

from millpond.plugin.output import results

logger = logging.getLogger(__name__)
POLL_INTERVAL_S = 0.05
SHUTDOWN_SLACK_S = 8.0  # for an orderly shutdown, in addition to the time for running requests
LOG_FLUSH_S = 1.0
POOL_MODULE = "concurrent.futures.thread"


def log_hanging_threads(timeout: float) -> bool:
    """Log the threads that would keep the process from exiting, and where they are; return True if there are any.

    Args:
        timeout: The number of seconds that they may take to end.
    """
    deadline = time.monotonic() + timeout
    while (hanging := busy_threads()) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
    for thread in hanging:
        logger.error("the thread %s hangs and is abandoned: it is in %s", thread.name, stack_of(thread))
    return bool(hanging)


def stack_of(thread: threading.Thread) -> str:
    """Return function, file and line of the three innermost frames of a thread, outermost first."""
    frame = None if thread.ident is None else sys._current_frames().get(thread.ident)  # noqa: SLF001  the documented way
    if frame is None:
        return "it has ended"
    frames = traceback.extract_stack(frame)[-3:]
    return " > ".join(f"{each.name} ({each.filename}:{each.lineno})" for each in frames)


def exit_now(exit_code: int) -> NoReturn:
    """Exit without waiting for threads: some might never end."""
    with contextlib.suppress(OSError, ValueError):  # a closed pipe or a full disk must not change the exit code
        if (stdout := results()) is not None:
            stdout.flush()
    os._exit(exit_code)


class Deadline:
    """Exits the process after a time limit, even if the event loop hangs."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def set(self, seconds: float, exit_code: int) -> None:
        """Exit the process in some seconds, which may be infinite. Replaces an earlier deadline."""
        self.cancel()
        self._timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), _exit_at_deadline, (exit_code,))
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """Cancel the deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _exit_at_deadline(exit_code: int) -> None:
    location = stack_of(threading.main_thread())
    logger.error("the server did not exit in time: its event loop hangs, and is in %s", location)
    time.sleep(LOG_FLUSH_S)
    exit_now(exit_code)


def busy_threads() -> list[threading.Thread]:
    """Return the threads that interpreter exit waits for, without idle threads of pools: these end by themselves."""
    frames = sys._current_frames()  # noqa: SLF001  the documented way
    return [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon and not _is_idle(frames.get(thread.ident or 0))
    ]


def _is_idle(frame: FrameType | None) -> bool:
    """True for a pool worker without work: its innermost frame is the loop of ``concurrent.futures``."""
    return frame is None or (frame.f_code.co_name == "_worker" and frame.f_globals.get("__name__") == POOL_MODULE)
