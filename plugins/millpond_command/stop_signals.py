"""Signals that ask a command to stop after its current step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from millpond_command.stderr import echo_stderr


@contextmanager
def stop_on_signals(message: str = "") -> Iterator[threading.Event]:
    """Set an event at the first SIGINT or SIGTERM; the second raises KeyboardInterrupt.

    Args:
        message: A line that is printed to stderr at the first signal; empty for none.
    """
    stop = threading.Event()

    def handle(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if message:
            echo_stderr(message)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
