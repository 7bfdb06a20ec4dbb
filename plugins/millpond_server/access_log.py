"""AccessLog: one line a request on stderr, as text or as JSON; no text of inputs, and no line can be forged."""

import json
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Literal

from millpond.cli import printable

MOST_WAITING = 10_000  # lines; who reads them too slowly must not make the server wait
TOGETHER = 0.02  # seconds; lines of that time are written at once, for each write wakes a thread that computes nothing
PLAIN = re.compile(r"[\w./:-]+", re.ASCII)  # stays as it is
Format = Literal["text", "json", "off"]


class AccessLog:
    """Writes lines in a thread of its own: a slow reader of stderr delays no answer.

    Attributes:
        lost: The lines that were dropped because too many waited.
    """

    def __init__(self, how: Format) -> None:
        self._format = how
        self._told: SimpleQueue[tuple[float, Mapping[str, Any]] | None] = SimpleQueue()
        self.lost = 0
        self._thread = threading.Thread(target=self._write, name="millpond-log", daemon=True)
        if how != "off":
            self._thread.start()

    def write(self, fields: Mapping[str, Any]) -> None:
        """Write a line, some time soon."""
        if self._format == "off":
            return
        if self.waiting < MOST_WAITING:
            self._told.put((time.time(), fields))
        else:
            self.lost += 1

    @property
    def waiting(self) -> int:
        """How many lines were not taken to be written yet."""
        return self._told.qsize()

    def close(self, patience: float = 1.0) -> None:
        """Write what waits, if that goes quickly."""
        if self._thread.is_alive():
            self._told.put(None)
            self._thread.join(patience)

    def _write(self) -> None:
        form = as_json if self._format == "json" else as_text
        ends = False
        while not ends:
            told = [self._told.get(), *self._taken()]
            ends = None in told
            lines = [form(fields, when) for when, fields in filter(None, told)]
            try:
                sys.stderr.write("".join(f"{line}\n" for line in lines))
                sys.stderr.flush()
            except (OSError, ValueError):  # nobody reads it any more
                self.lost += len(lines)
            if not ends:
                time.sleep(TOGETHER)

    def _taken(self) -> Iterator[tuple[float, Mapping[str, Any]] | None]:
        with suppress(Empty):
            while True:
                yield self._told.get_nowait()


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
