"""Output of plugins: what they print goes to stderr, for results go to stdout; an import that hangs is named."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

logger = logging.getLogger(__name__)
NOTICE_AFTER_S = 10.0  # seconds of an import; each time as many pass again, it is named again


class _Redirection:
    """Points ``sys.stdout`` at ``sys.stderr`` while at least one thread is inside; the last one out puts it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._stdout: TextIO | None = None

    def enter(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._stdout, sys.stdout = sys.stdout, sys.stderr
            self._depth += 1

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                sys.stdout, self._stdout = self._stdout, None

    @property
    def stdout(self) -> TextIO | None:
        with self._lock:
            return self._stdout if self._depth else sys.stdout


_redirection = _Redirection()


def results() -> TextIO | None:
    """The stream for results: stdout, wherever ``sys.stdout`` points at present; None if it is closed."""
    return _redirection.stdout


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what is printed to stderr until the block ends; any thread may be inside."""
    _redirection.enter()
    try:
        yield
    finally:
        _redirection.leave()


@contextmanager
def importing(what: str) -> Iterator[None]:
    """Send what an import prints to stderr, and log that it is still running after ``NOTICE_AFTER_S`` seconds.

    Args:
        what: What is imported, for the log, such as ``"plugin acme"``.
    """
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(done, what), name="millpond-import-watch", daemon=True)
    watcher.start()
    try:
        with stdout_to_stderr():
            yield
    finally:
        done.set()


def _watch(done: threading.Event, what: str) -> None:
    waited = 0.0
    while not done.wait(NOTICE_AFTER_S):
        waited += NOTICE_AFTER_S
        logger.warning("still importing %s after %.0f s", what, waited)
