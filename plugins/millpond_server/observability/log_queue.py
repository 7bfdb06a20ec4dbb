"""LogQueue: log lines are written to stderr by a thread: no reader of stderr can hold the server up.

Records wait in a bounded queue; where it is full they are dropped and counted. Lines are written to the descriptor,
past ``sys.stderr`` and its lock: a write that blocks would hold the lock, and with it the end of the process.
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
from typing import Any

MAX_WAITING_LINES = 10_000
GATHER_SECONDS = 0.02  # lines of that time are written at once: each write wakes a thread that computes nothing
MAX_LINE_CHARS = 100_000
logger = logging.getLogger(__name__)


class BoundedHandler(QueueHandler):
    """Puts records into a queue, and drops them while it is full.

    Attributes:
        dropped: The number of records that were dropped.
    """

    def __init__(self, records: SimpleQueue[Any]) -> None:
        super().__init__(records)
        self._records = records
        self.dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put a record into the queue, if there is room."""
        if self._records.qsize() < MAX_WAITING_LINES:
            self._records.put_nowait(record)
        else:
            self.dropped += 1


class LogQueue(QueueListener):
    """Writes log records in a thread, those of a moment together.

    Args:
        formatter: Formats the records as lines.

    Attributes:
        handler: The handler to give records to; it never blocks.
    """

    def __init__(self, formatter: logging.Formatter) -> None:
        self._records = SimpleQueue[Any]()
        self.handler = BoundedHandler(self._records)
        super().__init__(self._records)
        self._formatter = formatter
        self._lines: list[str] = []
        self._failed = 0  # lines that could not be written
        self._reported = 0  # lost lines that a line has reported
        self._is_running = False
        self._ends = False

    @property
    def lost(self) -> int:
        """The number of lines that were dropped or could not be written."""
        return self.handler.dropped + self._failed

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if not self._is_running:
            self._is_running = True
            super().start()

    def close(self, patience: float = 1.0) -> None:
        """Write what waits, and end the thread; one that is blocked is left behind after some seconds."""
        if not self._is_running:
            return
        self._is_running, self._ends = False, True
        thread: threading.Thread | None = self._thread
        self.enqueue_sentinel()
        if thread is not None:
            thread.join(patience)

    def dequeue(self, block: bool) -> Any:
        """Return the next record; gathered lines are written before the thread waits for another, and at the end."""
        try:
            record = self._records.get_nowait()
        except Empty:
            self._write()
            record = self._records.get(block)
            time.sleep(0.0 if self._ends else GATHER_SECONDS)
        if record is None:  # the last
            self._write()
        return record

    def handle(self, record: logging.LogRecord) -> None:
        """Gather the line of a record."""
        try:
            line = self._formatter.format(record)
        except Exception as error:  # noqa: BLE001  a record that cannot be formatted must not end the thread
            line = f"error: a record of {record.name} cannot be formatted: {error!r}"
        self._lines.append(line[:MAX_LINE_CHARS])
        if len(self._lines) >= MAX_WAITING_LINES:
            self._write()

    def _write(self) -> None:
        """Write the gathered lines, and how many were lost before."""
        lines, self._lines = self._lines, []
        lost = self.lost
        if not lines:
            return
        if lost > self._reported:
            report = f"warning: {lost - self._reported} lines of the log were lost: they could not be written in time"
            lines.append(report)
        try:
            _write_stderr("".join(f"{line}\n" for line in lines))
            self._reported = lost
        except (OSError, ValueError):  # the disk is full, or the pipe closed
            self._failed += len(lines) - (lost > self._reported)


def _write_stderr(text: str) -> None:
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
def in_background(log: LogQueue) -> Iterator[None]:
    """Write all that the process logs or warns of, tracebacks of threads included, by a thread."""
    root = logging.getLogger()
    replaced = [handler for handler in root.handlers if type(handler) is logging.StreamHandler]
    for handler in replaced:
        root.removeHandler(handler)
        for each in handler.filters:
            log.handler.addFilter(each)
    root.addHandler(log.handler)
    hook, threading.excepthook = threading.excepthook, _log_exception_of_thread
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


def _log_exception_of_thread(args: threading.ExceptHookArgs) -> None:
    if issubclass(args.exc_type, SystemExit) or args.exc_value is None:
        return
    thread = "" if args.thread is None else args.thread.name
    logger.error("the thread %s ended", thread, exc_info=args.exc_value)
