"""Conversion of SIGTERM and SIGHUP to an exception, so that a command removes its temporary files."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
SIGNAL_EXIT_BASE = 128


class TerminatedError(SystemExit):
    """A signal ended the command. The exit code is 128 plus the number of the signal, like in a shell."""

    def __init__(self, number: int) -> None:
        super().__init__(SIGNAL_EXIT_BASE + number)
        self.name = signal.Signals(number).name


@contextlib.contextmanager
def ending_signals_raised() -> Iterator[None]:
    """Raise ``TerminatedError`` for SIGTERM and SIGHUP, which would otherwise end the process without cleanup.

    Signals that the process ignores, for example under ``nohup``, stay ignored. Does nothing outside of the main
    thread, because Python handles signals only there.
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
