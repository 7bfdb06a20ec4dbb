"""The end of the process: threads that hang are logged with the place where they hang, and not waited for."""

import contextlib
import logging
import os
import threading
import time
from typing import NoReturn

from millpond.pipeline.thread_activity import busy_threads, stack_of
from millpond.plugin.output import results

logger = logging.getLogger(__name__)
STEP = 0.05  # seconds
SLACK = 8.0  # seconds that an orderly end may take beside the time for what runs
LAST_LINES = 1.0  # seconds for the log to be written


def tell_of_hanging(patience: float) -> bool:
    """Log the threads that would keep the process from ending, and where they are; returns whether there are any.

    Args:
        patience: How many seconds they may take to end.
    """
    end = time.monotonic() + patience
    while (hanging := busy_threads()) and time.monotonic() < end:
        time.sleep(STEP)
    for thread in hanging:
        logger.error("the thread %s hangs and is left behind: it is in %s", thread.name, stack_of(thread))
    return bool(hanging)


def exit_now(exit_code: int) -> NoReturn:
    """End the process without waiting for threads: some would never end."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it, or the disk is full: the exit code is what counts
        if (stdout := results()) is not None:
            stdout.flush()
    os._exit(exit_code)


class Deadline:
    """Ends the process at some time, unless it is lifted: where the event loop hangs, nothing else would."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def set(self, seconds: float, exit_code: int) -> None:
        """End the process in some seconds; an earlier call is forgotten."""
        self.lift()
        self._timer = threading.Timer(seconds, _give_up, (exit_code,))
        self._timer.daemon = True
        self._timer.start()

    def lift(self) -> None:
        """Do not end it after all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _give_up(exit_code: int) -> None:
    place = stack_of(threading.main_thread())
    logger.error("the server did not end in time: its event loop hangs, and is in %s", place)
    time.sleep(LAST_LINES)
    exit_now(exit_code)
