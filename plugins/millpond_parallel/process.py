"""EngineProcess: one engine process as seen by the program: its start, its messages and its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from millpond_parallel import memory
from millpond_parallel.channel import Channel, ChannelClosedError, Kind, Message
from millpond_parallel.engine_process import Start

RING_BYTES: Final = 16 * 2**20
"""The size of each of the two rings. Pages that no message has reached take no memory."""
POLL_INTERVAL_S: Final = 0.5  # between checks that the process runs; its end is normally seen at once by its socket
EXIT_TIMEOUT_S: Final = 5.0
STOPPED_STATES: Final = ("T", "t")  # in /proc: stopped by a signal, stopped by a debugger
BOOTSTRAP: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from millpond_parallel.engine_process import main; main()"
)
"""Starts an engine process with the import path of the program, and without importing the program's main module."""


class EngineProcess:
    """A started engine process.

    Args:
        start: The first message.
        num_threads: The number of threads that libraries may start.
        import_path: The folders from which the process imports modules.
        on_message: Called with each message, on the thread that receives; with None every half second without any.
        on_exit: Called with the exit code when the process has ended; negative for the number of a signal.
    """

    def __init__(
        self,
        start: Start,
        num_threads: int,
        import_path: list[str],
        on_message: Callable[[Message | None], None],
        on_exit: Callable[[int], None],
    ) -> None:
        self.name = start.name
        self._on_message = on_message
        self._on_exit = on_exit
        ours, theirs = socket.socketpair()
        requests, results = memory.create(RING_BYTES), memory.create(RING_BYTES)
        try:
            descriptors = (theirs.fileno(), results, requests)
            numbers = map(str, (*descriptors, os.getpid()))
            self._process = subprocess.Popen(  # noqa: S603  the arguments are not from users
                [sys.executable, "-P", "-c", BOOTSTRAP, json.dumps(import_path), *numbers],
                stdin=subprocess.DEVNULL,
                stdout=2,  # results of commands go to stdout
                pass_fds=descriptors,
                env={**os.environ, "OMP_NUM_THREADS": str(num_threads)},
                start_new_session=True,  # a terminal's Ctrl-C is for the program
            )
            self._channel = Channel(ours, requests, results)
        finally:
            theirs.close()
            os.close(requests)
            os.close(results)
        self._thread = threading.Thread(target=self._receive, name=f"millpond-engine-{self.name}", daemon=True)
        self.send(Kind.SETUP, content=start)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_stopped(self) -> bool:
        """True if a signal such as SIGSTOP, or a debugger, has stopped the process; False if that is unknown."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:  # the process has ended, or the system has no /proc
            return False
        return stat.rpartition(")")[2].split()[0] in STOPPED_STATES

    def send(self, kind: Kind, number: int = 0, content: object = None) -> None:
        """Send a message. After the end of the process it has no effect: ``on_exit`` is called."""
        try:
            self._channel.send(kind, number, content)
        except ChannelClosedError:
            return

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def stop(self) -> None:
        """Ask the process to exit; ``wait`` waits until it has."""
        self._channel.close()

    def wait(self) -> None:
        """Wait until the process has exited, and kill it if it does not in time."""
        try:
            self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._thread is not threading.current_thread():
            self._thread.join(EXIT_TIMEOUT_S)

    def _receive(self) -> None:
        try:
            while True:
                message = self._channel.receive(POLL_INTERVAL_S)
                if message is None and self._process.poll() is not None:
                    break  # a process that it started holds the socket open
                self._on_message(message)
        except ChannelClosedError:
            pass
        try:
            code = self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._channel.release()
        self._on_exit(code)


def ending(code: int) -> str:
    """Describe the end of a process in words: ``was killed by SIGKILL``, ``exited with code 1``."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
