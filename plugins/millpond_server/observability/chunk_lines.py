"""Shows the INFO lines about texts that are embedded in chunks in a server's log, a limited number per second."""

import contextlib
import logging
from collections.abc import Iterator

LOGGER_NAME = "millpond_io.chunking.pieces"
MAX_LINES_PER_SECOND = 20  # a request may contain thousands of long texts, each with two lines


class LinesPerSecond(logging.Filter):
    """Drops INFO lines over a number per second."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._num_lines = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for an INFO line over the maximum of its second."""
        if record.levelno != logging.INFO:
            return True
        second = int(record.created)
        self._num_lines = self._num_lines + 1 if second == self._second else 1
        self._second = second
        return self._num_lines <= MAX_LINES_PER_SECOND


@contextlib.contextmanager
def showing_chunk_lines() -> Iterator[None]:
    """Show the lines while the block runs, unless a program has set the logger's level."""
    logger = logging.getLogger(LOGGER_NAME)
    if logger.level != logging.NOTSET:
        yield
        return
    limit = LinesPerSecond()
    logger.addFilter(limit)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeFilter(limit)
