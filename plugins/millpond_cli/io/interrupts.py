"""Signals that end a command: files in the making are removed, and what was lost is reported."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
SIGNAL_EXIT_BASE = 128  # a shell reports a process that a signal ended as 128 plus the number of the signal


class TerminatedError(SystemExit):
    """A signal asked the command to end; the exit code is 128 plus its number, as shells report it."""

    def __init__(self, number: int) -> None:
        super().__init__(SIGNAL_EXIT_BASE + number)
        self.name = signal.Signals(number).name


@contextlib.contextmanager
def ending_signals_raised() -> Iterator[None]:
    """Raise ``TerminatedError`` where SIGTERM or SIGHUP would end the process without clearing up.

    Signals that the process ignores, as under ``nohup``, stay ignored. Does nothing outside of the main thread, in
    which alone Python handles signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    replaced = {
        number: handler
        for number in ENDING_SIGNALS
        if (handler := signal.getsignal(number)) not in {signal.SIG_IGN, None}
    }
    for number in replaced:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


def _raise(number: int, _: FrameType | None) -> None:
    raise TerminatedError(number)
