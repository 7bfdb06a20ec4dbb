"""Busy: which threads are at work for how long, so that one that hangs can be named with the place where it hangs."""

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from types import FrameType

POOLS = "concurrent.futures.thread"


@dataclass(frozen=True)
class Work:
    """A piece of work that a thread is doing.

    Attributes:
        thread: The thread.
        began: When it began, by ``time.monotonic``.
    """

    thread: threading.Thread
    began: float

    @property
    def place(self) -> str:
        """Where the thread is at present."""
        return place_of(self.thread)


class Busy:
    """Notes the work of threads."""

    def __init__(self) -> None:
        self._work: dict[int, Work] = {}

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note that this thread works, until the block ends."""
        thread = threading.current_thread()
        key = threading.get_ident()
        self._work[key] = Work(thread, monotonic())
        try:
            yield
        finally:
            del self._work[key]

    def work(self) -> list[Work]:
        """Return what threads are doing; any thread may ask."""
        return list(self._work.values())


def busy_threads() -> list[threading.Thread]:
    """Return the threads that Python waits for at its end, but for idle ones of pools: these end by themselves."""
    frames = sys._current_frames()  # noqa: SLF001  the documented way
    return [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon and not _is_idle(frames.get(thread.ident or 0))
    ]


def _is_idle(frame: FrameType | None) -> bool:
    """True for a worker of a pool that waits for work: its innermost frame is the loop of ``concurrent.futures``."""
    return frame is None or (frame.f_code.co_name == "_worker" and frame.f_globals.get("__name__") == POOLS)


def place_of(thread: threading.Thread) -> str:
    """Return the function, file and line that a thread is in, its callers' last, outermost first."""
    frame = None if thread.ident is None else sys._current_frames().get(thread.ident)  # noqa: SLF001  the documented way
    if frame is None:
        return "it has ended"
    found = traceback.extract_stack(frame)[-3:]
    return " > ".join(f"{each.name} ({each.filename}:{each.lineno})" for each in found)
