"""Handlers of ``GET /playground`` and of its files, which are the same for every client."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from millpond_playground.files import read_files

PAGE = "index.html"
FILES = read_files()
POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' blob:",  # images that the user chooses
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
HEADERS = {
    "cache-control": "no-cache",  # kept by browsers, and compared by its ETag before each use
    "content-security-policy": "; ".join(POLICY),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


async def page(_: Any, __: Any, call: Any) -> Response:
    """Return the page."""
    return _respond(PAGE, call)


async def file(_: Any, __: Any, call: Any) -> Response:
    """Return a file of the page: a script, a style sheet or an icon."""
    name = call.path_values["file"]
    if not name:  # the files are relative to the path without the slash
        return Response(status_code=307, headers={"location": "../playground"})
    return _respond(name, call)


def _respond(name: str, call: Any) -> Response:
    """Return a file, or 304 if the client has it.

    Raises:
        HTTPException: 404 for an unknown file.
    """
    entry = FILES.get(name)
    if entry is None:
        raise HTTPException(404, "the playground has no file with this name")
    headers = {**HEADERS, "etag": entry.etag}
    if entry.matches(call.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(entry.content, media_type=entry.media_type, headers=headers)
