"""ThreadActivity: the work that threads are doing and since when, to report threads that hang and where."""

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from types import FrameType

POOL_MODULE = "concurrent.futures.thread"


@dataclass(frozen=True)
class RunningWork:
    """Work that a thread is doing.

    Attributes:
        thread: The thread.
        began: The start, by ``time.monotonic``.
    """

    thread: threading.Thread
    began: float

    @property
    def stack(self) -> str:
        """The innermost functions that the thread is executing."""
        return stack_of(self.thread)


class ThreadActivity:
    """Records the work that threads are doing."""

    def __init__(self) -> None:
        self._work: dict[int, RunningWork] = {}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the current thread as working until the block ends."""
        thread = threading.current_thread()
        key = threading.get_ident()
        self._work[key] = RunningWork(thread, monotonic())
        try:
            yield
        finally:
            del self._work[key]

    def work(self) -> list[RunningWork]:
        """Return the work that threads are doing; any thread may call it."""
        return list(self._work.values())


def busy_threads() -> list[threading.Thread]:
    """Return the threads that interpreter exit waits for, without idle threads of pools: these end by themselves."""
    frames = sys._current_frames()  # noqa: SLF001  the documented way
    return [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon and not _is_idle(frames.get(thread.ident or 0))
    ]


def _is_idle(frame: FrameType | None) -> bool:
    """True for a pool worker without work: its innermost frame is the loop of ``concurrent.futures``."""
    return frame is None or (frame.f_code.co_name == "_worker" and frame.f_globals.get("__name__") == POOL_MODULE)


def stack_of(thread: threading.Thread) -> str:
    """Return function, file and line of the three innermost frames of a thread, outermost first."""
    frame = None if thread.ident is None else sys._current_frames().get(thread.ident)  # noqa: SLF001  the documented way
    if frame is None:
        return "it has ended"
    frames = traceback.extract_stack(frame)[-3:]
    return " > ".join(f"{each.name} ({each.filename}:{each.lineno})" for each in frames)
