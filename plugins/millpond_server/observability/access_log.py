"""AccessLog: one line a request on stderr, as text or as JSON; no text of inputs, and no line can be forged."""

import json
import logging
import re
import time
from collections.abc import Mapping
from typing import Any, Literal

from millpond_command.cli import printable
from millpond_server.observability.log_queue import LogQueue

NAME = "millpond_server.access"
PLAIN = re.compile(r"[\w./:-]+", re.ASCII)  # stays as it is
Format = Literal["text", "json", "off"]


class AccessLog:
    """Writes lines in a thread: a slow reader of stderr delays no answer.

    Args:
        how: How requests are written; "off" for not at all.

    Attributes:
        is_on: False if requests are not written.
        queue: Writes the lines, and what else is logged where ``in_background`` gives it that.
    """

    def __init__(self, how: Format) -> None:
        self.is_on = how != "off"
        self.queue = LogQueue(LineFormatter(how))
        self.close = self.queue.close
        if self.is_on:
            self.queue.start()

    def write(self, fields: Mapping[str, Any]) -> None:
        """Write a line, some time soon."""
        if self.is_on:
            record = logging.LogRecord(NAME, logging.INFO, "", 0, "", None, None)
            record.fields = fields
            self.queue.handler.enqueue(record)

    @property
    def lost(self) -> int:
        """The number of lines that were dropped because too many waited, or could not be written."""
        return self.queue.lost


class LineFormatter(logging.Formatter):
    """Makes lines of requests, and of other records ``warning: message``, as the command line shows them."""

    def __init__(self, how: Format) -> None:
        super().__init__()
        self._of_request = as_json if how == "json" else as_text

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = getattr(record, "fields", None)
        if fields is not None:
            return self._of_request(fields, record.created)
        return printable(f"{record.levelname.lower()}: {super().format(record)}")


def as_json(fields: Mapping[str, Any], when: float) -> str:
    """A line of ASCII: whatever is not is escaped, line ends of any kind as well."""
    return json.dumps({"time": _written(when), "event": "request", **fields}, separators=(",", ":"))


def as_text(fields: Mapping[str, Any], when: float) -> str:
    """``time method path status name=value ...``, each value without blanks."""
    told = dict(fields)
    head = [_written(when), *(_plain(told.pop(name, "-")) for name in ("method", "path", "status"))]
    return " ".join([*head, *(f"{name}={_plain(value)}" for name, value in told.items())])


def _plain(value: Any) -> str:
    text = str(value)
    if PLAIN.fullmatch(text):
        return text
    return printable(text).replace("\\", "\\\\").replace("\n", "\\n").replace(" ", "\\x20") or "-"


def _written(when: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(when))}.{int(when * 1000) % 1000:03d}Z"
