"""Lines of a batch's input file: requests, or the reasons why a line is not one."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from millpond_recipes.sources.records import Lines
from millpond_server.batches.limits import BatchLimits
from millpond_server.http.body import has_too_many_values
from millpond_server.http.errors import short_repr

MAX_ID_CHARS = 512


class TooManyLinesError(Exception):
    """The file has more lines than a batch may have."""


@dataclass(frozen=True)
class Line:
    """A line with a request.

    Attributes:
        number: The number of the line, from 1.
        custom_id: The client's name of the request; None if it has none.
        url: The path that the request goes to.
        body: The body of the request, as JSON.
        error: The reason why the line is not a request; None if it is one.
    """

    number: int
    custom_id: str | None
    url: str = ""
    body: bytes = b""
    error: str | None = None


def read_lines(path: Path, endpoints: Collection[str], limits: BatchLimits) -> Iterator[Line]:
    """Yield the lines of an input file that are not blank.

    Args:
        path: The file.
        endpoints: The paths that requests may go to.
        limits: The limits.

    Raises:
        TooManyLinesError: If the file has too many lines, blank ones included.
    """
    seen: set[str | None] = set()
    with path.open("rb") as file:
        contents = Lines(file, max_bytes=limits.line_bytes)
        for content in contents:
            number = contents.number
            if limits.lines is not None and number > limits.lines:
                raise TooManyLinesError
            if len(content) > limits.line_bytes and not content.endswith(b"\n"):
                contents.skip_rest()
                yield Line(number, None, error=f"the line is over the limit of {limits.line_bytes} bytes")
            elif content.strip():
                line = parse_line(number, content, endpoints, limits)
                if line.error is None and line.custom_id in seen:
                    line = Line(number, line.custom_id, error=f"custom_id {line.custom_id!r} is not unique")
                seen.add(line.custom_id)
                yield line


def parse_line(number: int, content: bytes, endpoints: Collection[str], limits: BatchLimits) -> Line:
    """Return the request of a line, or the reason why it is not one."""
    if has_too_many_values(content, limits.line_values):  # parsing them would block the event loop
        return Line(
            number,
            None,
            error=f"the line has more than {limits.line_values} lists, objects and fields, or too many numbers",
        )
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return Line(number, None, error=f"not valid JSON: {error.msg} at byte {error.pos}")
    if not isinstance(value, dict):
        return Line(number, None, error="expected a JSON object")
    custom_id = value.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_ID_CHARS:
        return Line(number, None, error=f"custom_id must be a text of 1 to {MAX_ID_CHARS} characters")
    try:
        body, reason = orjson.dumps(value.get("body")), _field_error(value, endpoints)
    except orjson.JSONEncodeError:
        body, reason = b"", "body nests lists and objects too deeply"
    return Line(number, custom_id, error=reason) if reason else Line(number, custom_id, value["url"], body)


def _field_error(value: dict[str, Any], endpoints: Collection[str]) -> str | None:
    method, url = value.get("method"), value.get("url")
    if method != "POST":
        return f"method must be 'POST', not {short_repr(method)}"
    if not isinstance(url, str) or url not in endpoints:
        return f"url: unknown {short_repr(url)}. Available: {', '.join(sorted(endpoints))}"
    if not isinstance(value.get("body"), dict):
        return "body must be a JSON object"
    return None
