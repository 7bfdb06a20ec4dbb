"""Lines on stderr: messages of the program, and log records, with control characters escaped."""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator

UNPRINTABLE = re.compile(r"[^\n -~\u00a0-\uffff\U00010000-\U0010ffff]|[\u00ad\u200b-\u200f\u2028-\u202e\ud800-\udfff]")


def echo_stderr(message: str) -> None:
    """Print a line to stderr. Does nothing if stderr is closed or its disk is full."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(printable(message), file=sys.stderr, flush=True)  # noqa: T201


def printable(text: str) -> str:
    r"""Return the text with control characters, which could move the cursor or set colours, escaped as ``\x1b``."""
    return UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def flush_stderr() -> None:
    """Flush stderr, or discard its buffer if that fails: Python would exit with 120."""
    stream = sys.stderr
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class StderrHandler(logging.Handler):
    """Writes log records to the current ``sys.stderr``, which a progress bar replaces."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            echo_stderr(self.format(record))
        except Exception:  # noqa: BLE001  an error of the record, which logging reports
            self.handleError(record)


class _LevelFormatter(logging.Formatter):
    """Formats log records like errors of the program: ``warning: message``."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {super().format(record)}"


def _is_shown(record: logging.LogRecord) -> bool:
    """Return True for all records of Millpond's packages, and for warnings of other packages."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0].startswith("millpond")


@contextlib.contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Log warnings to stderr while the program runs; with --debug, all records of Millpond's packages."""
    handler = StderrHandler()
    handler.setFormatter(_LevelFormatter())
    handler.addFilter(_is_shown)
    logger = logging.getLogger()
    level = logger.level
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
