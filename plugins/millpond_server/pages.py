"""The pages of a server: its description, and a page that draws it; nothing of them comes from elsewhere."""

from importlib.resources import files
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

POLICY = "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"
MEDIA_TYPES = {"docs.html": "text/html; charset=utf-8", "docs.js": "text/javascript; charset=utf-8"}


def page_routes(description: dict[str, Any]) -> list[Route]:
    """The routes of the pages."""
    described = orjson.dumps(description)

    async def openapi(_: Request) -> Response:
        return Response(described, media_type="application/json")

    return [
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/docs", _page("docs.html"), methods=["GET"]),
        Route("/docs.js", _page("docs.js"), methods=["GET"]),
    ]


def _page(name: str) -> Any:
    content = files("millpond_server").joinpath("static", name).read_bytes()
    headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}

    async def page(_: Request) -> Response:
        return Response(content, media_type=MEDIA_TYPES[name], headers=headers)

    return page
