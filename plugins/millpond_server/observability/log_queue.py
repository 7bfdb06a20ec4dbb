"""LogThread: log lines are written to stderr by a thread of their own: no reader of stderr can hold the server up.

What is logged goes into a bounded queue; where it is full, lines are dropped and counted. Lines are written past
``sys.stderr`` and its lock, which a write that blocks would keep from the end of the process.
"""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from logging.handlers import QueueHandler, QueueListener
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

MOST_WAITING = 10_000  # lines
TOGETHER = 0.02  # seconds; lines of that time are written at once, for each write wakes a thread that computes nothing
LONGEST = 100_000  # characters of a line
logger = logging.getLogger(__name__)
Records = SimpleQueue[logging.LogRecord | None]  # None is the last


class LogThread:
    """Writes log records in a thread.

    Args:
        formatter: Makes lines of the records.

    Attributes:
        handler: The handler to give records to; it never blocks.
    """

    def __init__(self, formatter: logging.Formatter) -> None:
        self._queue: Records = SimpleQueue()
        self.handler = BoundedHandler(self._queue)
        self._lines = StderrHandler(formatter, self.handler)
        self._listener = GatheringListener(self._queue, self._lines)
        self._is_running = False

    @property
    def lost(self) -> int:
        """The number of lines that were dropped."""
        return self.handler.dropped + self._lines.failed

    @property
    def waiting(self) -> int:
        """The number of lines that are not written yet."""
        return self._queue.qsize()

    def start(self) -> None:
        """Begin to write."""
        if not self._is_running:
            self._is_running = True
            self._listener.start()

    def close(self, patience: float = 1.0) -> None:
        """Write what waits, if that does not take longer than some seconds."""
        if self._is_running:
            self._is_running = False
            self._listener.stop_within(patience)


class BoundedHandler(QueueHandler):
    """Puts records into a queue, and drops them while it is full.

    Attributes:
        dropped: The number of records that were dropped.
    """

    def __init__(self, queue: Records) -> None:
        super().__init__(queue)
        self._records = queue
        self.dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put a record into the queue, if there is room."""
        if self._records.qsize() < MOST_WAITING:
            self._records.put_nowait(record)
        else:
            self.dropped += 1


class GatheringListener(QueueListener):
    """Takes records from the queue, and has them written together when none is left for a while."""

    def __init__(self, queue: Records, lines: "StderrHandler") -> None:
        super().__init__(queue, lines)
        self._records = queue
        self._lines = lines
        self._ends = False

    def dequeue(self, block: bool) -> Any:
        """Return the next record; what was gathered is written before the thread waits for another."""
        try:
            record = self._records.get_nowait()
        except Empty:
            self._lines.write_out()
            record = self._records.get(block)
            time.sleep(0.0 if self._ends else TOGETHER)
        if record is None:  # it is the last
            self._lines.write_out()
        return record

    def stop_within(self, patience: float) -> None:
        """End the thread after what it has, or leave it behind where that takes too long."""
        self._ends = True
        self.enqueue_sentinel()
        thread: threading.Thread | None = getattr(self, "_thread", None)
        if thread is not None:
            thread.join(patience)


class StderrHandler(logging.Handler):
    """Gathers lines, and writes them to stderr. Only the thread of the listener uses it, hence it has no lock.

    Args:
        formatter: Makes lines of the records.
        source: Knows how many records were dropped before they came here.

    Attributes:
        failed: The number of lines that could not be written.
    """

    def __init__(self, formatter: logging.Formatter, source: BoundedHandler) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.failed = 0
        self._source = source
        self._told = 0  # lost lines that a line has told of
        self._gathered: list[str] = []

    def createLock(self) -> None:  # noqa: N802  the name is logging's
        """Have none: ``logging.shutdown`` would wait for a write that blocks."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Gather a line."""
        try:
            self._gathered.append(self.format(record)[:LONGEST])
        except Exception as error:  # noqa: BLE001  a record that cannot be formatted must not end the thread
            self._gathered.append(f"error: a record of {record.name} cannot be formatted: {error!r}"[:LONGEST])
        if len(self._gathered) >= MOST_WAITING:
            self.write_out()

    def write_out(self) -> None:
        """Write what was gathered, and how many lines were lost before."""
        lines, self._gathered = self._gathered, []
        lost = self._source.dropped + self.failed
        if lost > self._told and lines:
            lines.append(f"warning: {lost - self._told} lines of the log were lost: they could not be written in time")
        if not lines:
            return
        try:
            _write("".join(f"{line}\n" for line in lines))
            self._told = max(lost, self._told)
        except (OSError, ValueError):  # the disk is full, or nobody reads it any more
            self.failed += len(lines) - (lost > self._told)


def _write(text: str) -> None:
    """Write to stderr, past Python's buffer where it is a file."""
    stream = sys.stderr
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):  # it is replaced by an object, or closed
        stream.write(text)
        stream.flush()
        return
    left = memoryview(text.encode("utf-8", "backslashreplace"))
    while left:
        left = left[os.write(descriptor, left) :]


@contextlib.contextmanager
def in_background(log: LogThread) -> Iterator[None]:
    """Have all that the process logs or warns of, tracebacks of threads included, written by a thread."""
    root = logging.getLogger()
    replaced = [handler for handler in root.handlers if type(handler) is logging.StreamHandler]
    for handler in replaced:
        root.removeHandler(handler)
        for each in handler.filters:
            log.handler.addFilter(each)
    root.addHandler(log.handler)
    hook = threading.excepthook
    threading.excepthook = _log_of_thread
    logging.captureWarnings(True)
    log.start()
    try:
        yield
    finally:
        logging.captureWarnings(False)
        threading.excepthook = hook
        root.removeHandler(log.handler)
        for handler in replaced:
            root.addHandler(handler)
        log.close()


def _log_of_thread(args: threading.ExceptHookArgs) -> None:
    """Log what ended a thread."""
    if issubclass(args.exc_type, SystemExit) or args.exc_value is None:
        return
    found: tuple[type[BaseException], BaseException, TracebackType | None] = (
        args.exc_type,
        args.exc_value,
        args.exc_traceback,
    )
    logger.error("the thread %s ended", "" if args.thread is None else args.thread.name, exc_info=found)
