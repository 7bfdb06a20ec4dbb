"""Conversion of signals to exceptions that are not lost, so that a command ends and removes its temporary files."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
SIGNAL_EXIT_BASE = 128


class TerminatedError(SystemExit):
    """A signal ended the command. The exit code is 128 plus the number of the signal, like in a shell."""

    def __init__(self, number: int) -> None:
        super().__init__(SIGNAL_EXIT_BASE + number)
        self.name = signal.Signals(number).name


class Interruption:
    """The exception of a signal that arrived.

    Python raises it between any two instructions. There it can be replaced, for example by "release unlocked lock" of a
    thread that is being started, or lost in compiled code.

    Attributes:
        error: The exception; None if no signal arrived.
    """

    def __init__(self) -> None:
        self.error: KeyboardInterrupt | TerminatedError | None = None

    def check(self) -> None:
        """Raise the exception again if it was lost."""
        if self.error is not None:
            raise self.error

    def of(self, error: BaseException) -> KeyboardInterrupt | TerminatedError | None:
        """Return the exception of the signal that caused an error; None if it has another cause."""
        return error if isinstance(error, KeyboardInterrupt | TerminatedError) else self.error

    def raise_for(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        self.error = KeyboardInterrupt() if number == signal.SIGINT else TerminatedError(number)
        raise self.error


@contextlib.contextmanager
def ending_signals_raised() -> Iterator[Interruption]:
    """Raise ``KeyboardInterrupt`` for SIGINT, and ``TerminatedError`` for SIGTERM and SIGHUP, instead of other errors.

    SIGTERM and SIGHUP would otherwise end the process without cleanup. Signals that the process ignores, for example
    under ``nohup``, stay ignored. Does nothing outside of the main thread, because Python handles signals only there.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    replaced = {
        number: handler
        for number in ENDING_SIGNALS
        if (handler := signal.getsignal(number)) not in {signal.SIG_IGN, None}
    }
    for number in replaced:
        signal.signal(number, interruption.raise_for)
    try:
        yield interruption
    except Exception as error:
        if interruption.error is not None:
            raise interruption.error from error
        raise
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
