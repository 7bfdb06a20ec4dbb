"""Tests of signals that end a command: their exceptions are neither lost nor replaced."""

import contextlib
import signal

import pytest

from millpond_cli.io.interrupts import TerminatedError, ending_signals_raised

SIGNALS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, TerminatedError)]


def lose(number):
    """Raise a signal whose exception is lost, as in compiled code that clears all errors."""
    with ending_signals_raised() as interruption:
        interruption.check()
        with contextlib.suppress(BaseException):
            signal.raise_signal(number)
        interruption.check()


def replace(number):
    """Raise a signal whose exception is replaced, as while a thread is started."""
    with ending_signals_raised():
        try:
            signal.raise_signal(number)
        finally:
            message = "release unlocked lock"
            raise RuntimeError(message)


@pytest.fixture
def sigint():
    """Handle Ctrl-C as Python does; programs that a shell starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize(("number", "expected"), SIGNALS)
@pytest.mark.parametrize("disturb", [lose, replace])
def test_the_exception_of_a_signal_is_raised_in_the_end(disturb, number, expected):
    before = signal.getsignal(number)
    with pytest.raises(expected):
        disturb(number)
    assert signal.getsignal(number) is before


def test_other_errors_are_not_changed():
    error = RuntimeError("the disk is full")
    with pytest.raises(RuntimeError) as raised, ending_signals_raised() as interruption:
        raise error
    assert raised.value is error
    assert interruption.of(error) is None
