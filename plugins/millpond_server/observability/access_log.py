"""AccessLog: one line per request on stderr, as text or JSON, without input texts. Clients cannot forge lines."""

import json
import logging
import re
import time
from collections.abc import Mapping
from typing import Any, Literal

from millpond_command.cli import printable
from millpond_server.observability.log_queue import LogQueue

LOGGER_NAME = "millpond_server.access"
UNQUOTED = re.compile(r"[\w./:-]+", re.ASCII)  # values that are written without escapes
Format = Literal["text", "json", "off"]


class AccessLog:
    """Writes lines in a thread, so that a slow reader of stderr does not delay responses.

    Args:
        log_format: The format of a line; "off" to log no requests.

    Attributes:
        is_on: False if requests are not logged.
        queue: The queue of lines; ``in_background`` adds all other log records to it.
    """

    def __init__(self, log_format: Format) -> None:
        self.is_on = log_format != "off"
        self.queue = LogQueue(LineFormatter(log_format))
        self.close = self.queue.close
        if self.is_on:
            self.queue.start()

    def write(self, fields: Mapping[str, Any]) -> None:
        """Queue the line of a request."""
        if self.is_on:
            record = logging.LogRecord(LOGGER_NAME, logging.INFO, "", 0, "", None, None)
            record.fields = fields
            self.queue.handler.enqueue(record)

    @property
    def lost(self) -> int:
        """The number of lines that were dropped because the queue was full, or that could not be written."""
        return self.queue.lost


class LineFormatter(logging.Formatter):
    """Formats requests in the format of the access log, and other records as ``warning: message``."""

    def __init__(self, log_format: Format) -> None:
        super().__init__()
        self._format_request = as_json if log_format == "json" else as_text

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields = getattr(record, "fields", None)
        if fields is not None:
            return self._format_request(fields, record.created)
        return printable(f"{record.levelname.lower()}: {super().format(record)}")


def as_json(fields: Mapping[str, Any], timestamp: float) -> str:
    """Return a line of JSON in ASCII; other characters and line breaks are escaped."""
    return json.dumps({"time": _time(timestamp), "event": "request", **fields}, separators=(",", ":"))


def as_text(fields: Mapping[str, Any], timestamp: float) -> str:
    """Return the line ``time method path status name=value ...``; spaces in values are escaped."""
    others = dict(fields)
    head = [_time(timestamp), *(_escaped(others.pop(name, "-")) for name in ("method", "path", "status"))]
    return " ".join([*head, *(f"{name}={_escaped(value)}" for name, value in others.items())])


def _escaped(value: Any) -> str:
    text = str(value)
    if UNQUOTED.fullmatch(text):
        return text
    return printable(text).replace("\\", "\\\\").replace("\n", "\\n").replace(" ", "\\x20") or "-"


def _time(timestamp: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(timestamp))}.{int(timestamp * 1000) % 1000:03d}Z"
