"""A server's log shows texts that are embedded in chunks, with a limited number of lines."""

import io
import logging
import sys

import pytest

from millpond_command.stderr import logging_to_stderr
from millpond_server.observability.access_log import AccessLog
from millpond_server.observability.chunk_lines import (
    LOGGER_NAME,
    MAX_LINES_PER_SECOND,
    LinesPerSecond,
    showing_chunk_lines,
)
from millpond_server.observability.log_queue import in_background


@pytest.fixture
def lines(tiny_bert, monkeypatch):
    """Return the log lines of a call of ``embed`` with chunks."""

    def lines(texts):
        monkeypatch.setattr(sys, "stderr", written := io.StringIO())
        log = AccessLog("off")
        with logging_to_stderr(), in_background(log.queue), showing_chunk_lines():
            tiny_bert.embed(texts, on_overflow="chunk", use_tqdm=False)
        return written.getvalue().splitlines()

    return lines


def test_a_long_text_has_two_lines(lines):
    assert lines(["cat", "the cat " * 75]) == [
        "info: Input length 152 exceeds max_position_embeddings 64, will use chunked processing",
        "info: Split input of 152 tokens into 3 chunks (max_chunk_size: 64)",
    ]


def test_the_number_of_lines_per_second_is_limited():
    limit = LinesPerSecond()

    def shown(level, created):
        record = logging.LogRecord(LOGGER_NAME, level, "", 0, "", None, None)
        record.created = created
        return limit.filter(record)

    for second in (100, 101, 250):
        kept = [shown(logging.INFO, second + number / 1000) for number in range(3 * MAX_LINES_PER_SECOND)]
        assert kept == [True] * MAX_LINES_PER_SECOND + [False] * 2 * MAX_LINES_PER_SECOND
        assert shown(logging.WARNING, second + 0.9)


def test_the_logger_is_unchanged_afterwards(lines):
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(logging.WARNING)
    try:
        assert lines(["the cat " * 75]) == []
    finally:
        logger.setLevel(logging.NOTSET)
    lines(["the cat " * 75])
    assert (logger.level, logger.filters) == (logging.NOTSET, [])
