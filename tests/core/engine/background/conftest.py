"""Fixtures of the tests of BackgroundEngine: waiting for requests and threads to end."""

import threading
from types import SimpleNamespace

import pytest

PATIENCE = 120  # seconds until a test that waits for something is given up
HOUR = 3600.0  # seconds that nothing of a test may take, however busy the machine


class Latch:
    """Waits for requests to end in any thread."""

    def __init__(self, requests):
        self.ended = []
        self._threads = set()
        self._all = threading.Event()
        self._left = len(requests)
        for request in requests:
            request.state.on_done = self._note

    def _note(self, request):
        self.ended.append(request)
        self._threads.add(threading.current_thread().name)
        if len(self.ended) == self._left:
            self._all.set()

    def wait(self):
        assert self._all.wait(PATIENCE), f"{len(self.ended)} of {self._left} requests ended"
        assert self._threads == {"millpond-engine"}
        return self.ended


def run(thread, requests):
    """Submit requests, and wait for them."""
    latch = Latch(requests)
    thread.submit(requests)
    latch.wait()
    return requests


def quarantined(thread, requests):
    """Submit requests; those that are blocked end on this thread."""
    ended = threading.Event()
    left = [len(requests)]

    def note(_):
        left[0] -= 1
        if not left[0]:
            ended.set()

    for request in requests:
        request.state.on_done = note
    thread.submit(requests)
    assert ended.wait(PATIENCE)
    return requests


def in_thread(function, *arguments, **named):
    thread = threading.Thread(target=function, args=arguments, kwargs=named, daemon=True)
    thread.start()
    return thread


def joined(thread):
    thread.join(PATIENCE)
    return not thread.is_alive()


@pytest.fixture(scope="session")
def kit(kit) -> SimpleNamespace:
    """Return the kit of the engine's tests with the functions above."""
    return SimpleNamespace(
        **vars(kit), hour=HOUR, latch=Latch, run=run, quarantined=quarantined, in_thread=in_thread, joined=joined
    )


@pytest.fixture
def deaths(monkeypatch):
    """Return the exceptions that ended threads, instead of pytest's warning."""
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    return died
