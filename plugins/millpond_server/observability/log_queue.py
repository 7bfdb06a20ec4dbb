"""LogQueue: writes log lines to stderr in a thread, so that no reader of stderr can block the server.

Records wait in a bounded queue; if it is full, they are dropped and counted. Lines are written to the file descriptor
without ``sys.stderr`` and its lock: a blocked write would hold the lock and prevent the exit of the process.
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

from millpond_command.stderr import StderrHandler

MAX_WAITING_LINES = 10_000
GATHER_S = 0.02  # lines of this time are written together, because each write wakes the thread
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
        """Put a record into the queue, unless it is full."""
        if self._records.qsize() < MAX_WAITING_LINES:
            self._records.put_nowait(record)
        else:
            self.dropped += 1


class LogQueue(QueueListener):
    """Writes log records in a thread, several at a time.

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
        self._is_closing = False

    @property
    def lost(self) -> int:
        """The number of lines that were dropped or could not be written."""
        return self.handler.dropped + self._failed

    def start(self) -> None:
        """Start the thread, unless it is running."""
        if not self._is_running:
            self._is_running = True
            super().start()

    def close(self, timeout: float = 1.0) -> None:
        """Write the waiting records and end the thread; a blocked thread is abandoned after a timeout in seconds."""
        if not self._is_running:
            return
        self._is_running, self._is_closing = False, True
        thread: threading.Thread | None = self._thread
        self.enqueue_sentinel()
        if thread is not None:
            thread.join(timeout)

    def dequeue(self, block: bool) -> Any:
        """Return the next record. Gathered lines are written before the thread waits, and at the end."""
        try:
            record = self._records.get_nowait()
        except Empty:
            self._write()
            record = self._records.get(block)
            time.sleep(0.0 if self._is_closing else GATHER_S)
        if record is None:  # the sentinel
            self._write()
        return record

    def handle(self, record: logging.LogRecord) -> None:
        """Format a record as a line, to be written later."""
        try:
            line = self._formatter.format(record)
        except Exception as error:  # noqa: BLE001  a record that cannot be formatted must not end the thread
            line = f"error: a record of {record.name} cannot be formatted: {error!r}"
        self._lines.append(line[:MAX_LINE_CHARS])
        if len(self._lines) >= MAX_WAITING_LINES:
            self._write()

    def _write(self) -> None:
        """Write the gathered lines, and the number of lost lines."""
        lines, self._lines = self._lines, []
        lost = self.lost
        if not lines:
            return
        if lost > self._reported:
            num_lost = lost - self._reported
            lines.append(f"warning: {num_lost} lines of the log were lost: they could not be written in time")
        try:
            _write_stderr("".join(f"{line}\n" for line in lines))
            self._reported = lost
        except (OSError, ValueError):  # a full disk or a closed pipe
            self._failed += len(lines) - (lost > self._reported)


def _write_stderr(text: str) -> None:
    stream = sys.stderr
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):  # stderr is closed, or replaced by an object without a descriptor
        stream.write(text)
        stream.flush()
        return
    remaining = memoryview(text.encode("utf-8", "backslashreplace"))
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]


@contextlib.contextmanager
def in_background(log: LogQueue) -> Iterator[None]:
    """Write all log records, warnings and tracebacks of threads with a log queue while the block runs."""
    root = logging.getLogger()
    replaced = [it for it in root.handlers if type(it) is logging.StreamHandler or isinstance(it, StderrHandler)]
    for handler in replaced:
        root.removeHandler(handler)
        for log_filter in handler.filters:
            log.handler.addFilter(log_filter)
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
