"""``millpond tune`` while it works: a bar on a terminal, and Ctrl-C."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios

import pytest

# A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
ANNOUNCED = """
import signal

from millpond import cli
from millpond_cli.lab import Lab

signal.signal(signal.SIGINT, signal.default_int_handler)
run = Lab.run


def announced(*arguments):
    print("measuring", flush=True)
    return run(*arguments)


Lab.run = announced
cli.main()
"""


class OnATerminal:
    """The command, whose stderr is a terminal."""

    def __init__(self, *arguments):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        command = [sys.executable, "-m", "millpond", "tune", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)

    def written(self):
        """What it writes there, to its end."""
        written = b""
        try:
            while piece := os.read(self.ours, 65536):
                written += piece
        except OSError:  # Linux says so when the other side is closed
            pass
        finally:
            os.close(self.ours)
        assert self.process.wait() == 0
        return written.decode()


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_terminal_shows_a_bar_unless_it_is_to_be_quiet(model):
    quiet = OnATerminal(model, "--seconds", 0.1, "--dry-run", "--quiet")  # beside the other: most of it is to import
    shown = OnATerminal(model, "--seconds", 1, "--dry-run").written()
    for phase in ("loading", "warming up", "attention"):
        assert f"/1 s  {phase}" in shown
    assert quiet.written() == ""


def test_an_interrupt_ends_it_quietly_and_leaves_nothing(model, folder):
    command = [sys.executable, "-c", ANNOUNCED, "tune", model, "--seconds", "600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "measuring\n"
    process.send_signal(signal.SIGINT)
    assert (process.communicate()[1], process.returncode) == ("", 130)
    assert list(folder.iterdir()) == []
