"""Redirects the output of plugins to stderr, because stdout is for results; logs slow imports."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

logger = logging.getLogger(__name__)
NOTICE_INTERVAL_S = 10.0  # between log messages about a running import


class _Redirection:
    """Redirects ``sys.stdout`` to ``sys.stderr`` while at least one thread is in a block."""

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
    """Return the original stdout, for results, even while ``sys.stdout`` is redirected; None if it is closed."""
    return _redirection.stdout


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Redirect stdout to stderr in the block. Thread-safe."""
    _redirection.enter()
    try:
        yield
    finally:
        _redirection.leave()


@contextmanager
def importing(what: str) -> Iterator[None]:
    """Redirect the output of an import to stderr, and log every ``NOTICE_INTERVAL_S`` seconds that it is still running.

    Args:
        what: The name of the import for the log, such as ``"plugin acme"``.
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
    while not done.wait(NOTICE_INTERVAL_S):
        waited += NOTICE_INTERVAL_S
        logger.warning("still importing %s after %.0f s", what, waited)
