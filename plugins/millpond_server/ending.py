"""The end of the process: threads that hang are logged with the place where they hang, and not waited for."""

import contextlib
import logging
import os
import sys
import time
from typing import NoReturn

from millpond.busy import busy_threads, place_of

logger = logging.getLogger(__name__)
STEP = 0.05  # seconds


def tell_of_hanging(patience: float) -> bool:
    """Log the threads that would keep the process from ending, and where they are; returns whether there are any.

    Args:
        patience: How many seconds they may take to end.
    """
    end = time.monotonic() + patience
    while (hanging := busy_threads()) and time.monotonic() < end:
        time.sleep(STEP)
    for thread in hanging:
        logger.error("the thread %s hangs and is left behind: it is in %s", thread.name, place_of(thread))
    return bool(hanging)


def exit_now(exit_code: int) -> NoReturn:
    """End the process without waiting for threads: some would never end."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it, or the disk is full: the exit code is what counts
        sys.stdout.flush()
    os._exit(exit_code)
