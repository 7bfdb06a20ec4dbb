"""AccessLog: one line a request on stderr, as text or as JSON; no text of inputs, and no line can be forged."""

import json
import sys
import threading
import time
from collections.abc import Mapping
from queue import Full, Queue
from typing import Any, Literal

from millpond.cli import printable

MOST_WAITING = 10_000  # lines; who reads them too slowly must not make the server wait
Format = Literal["text", "json", "off"]


class AccessLog:
    """Writes lines in a thread of its own: a slow reader of stderr delays no answer.

    Attributes:
        lost: The lines that were dropped because too many waited.
    """

    def __init__(self, how: Format) -> None:
        self._format = how
        self._lines: Queue[str | None] = Queue(MOST_WAITING)
        self.lost = 0
        self._thread = threading.Thread(target=self._write, name="millpond-log", daemon=True)
        if how != "off":
            self._thread.start()

    def write(self, fields: Mapping[str, Any]) -> None:
        """Write a line, some time soon."""
        if self._format == "off":
            return
        try:
            self._lines.put_nowait(as_json(fields) if self._format == "json" else as_text(fields))
        except Full:
            self.lost += 1

    def close(self, patience: float = 1.0) -> None:
        """Write what waits, if that goes quickly."""
        if self._thread.is_alive():
            try:
                self._lines.put(None, timeout=patience)
            except Full:
                return
            self._thread.join(patience)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()
            except (OSError, ValueError):  # nobody reads it any more
                self.lost += 1


def as_json(fields: Mapping[str, Any]) -> str:
    """A line of ASCII: whatever is not is escaped, line ends of any kind as well."""
    return json.dumps({"time": _now(), "event": "request", **fields}, separators=(",", ":"))


def as_text(fields: Mapping[str, Any]) -> str:
    """``time method path status name=value ...``, each value without blanks."""
    told = dict(fields)
    head = [_now(), *(_plain(told.pop(name, "-")) for name in ("method", "path", "status"))]
    return " ".join([*head, *(f"{name}={_plain(value)}" for name, value in told.items())])


def _plain(value: Any) -> str:
    return printable(str(value)).replace("\\", "\\\\").replace("\n", "\\n").replace(" ", "\\x20") or "-"


def _now() -> str:
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"
