"""Web pages of a server: an index, the OpenAPI description, and its documentation, without external resources."""

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import millpond
from millpond_server.runtime.models import Models

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"
)
STATIC = files("millpond_server").joinpath("static")
PLAYGROUND_LINK = '\n<li><a href="playground">playground</a>: a page to try the models</li>'
METRICS_LINK = '\n<li><a href="metrics">metrics</a>: counters for Prometheus</li>'
MEDIA_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "docs.html": "text/html; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
}


def page_routes(
    description: dict[str, Any], models: Models, *, has_metrics: bool = True, has_playground: bool = False
) -> list[Route]:
    """Return the routes of the pages.

    Args:
        description: The OpenAPI description of all routes.
        models: The models to list on the index page.
        has_metrics: True if the metrics are on this port.
        has_playground: True if the playground is mounted.
    """
    links = {"playground": PLAYGROUND_LINK if has_playground else "", "metrics": METRICS_LINK if has_metrics else ""}
    index = _index(models, links)
    openapi_json = orjson.dumps(description)

    async def openapi(_: Request) -> Response:
        return Response(openapi_json, media_type="application/json")

    return [
        Route("/", _page("index.html", index), methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/docs", _page("docs.html"), methods=["GET"]),
        Route("/docs.js", _page("docs.js"), methods=["GET"]),
    ]


def _page(name: str, content: bytes | None = None) -> Any:
    body = STATIC.joinpath(name).read_bytes() if content is None else content
    headers = {"content-security-policy": CONTENT_SECURITY_POLICY, "x-content-type-options": "nosniff"}

    async def page(_: Request) -> Response:
        return Response(body, media_type=MEDIA_TYPES[name], headers=headers)

    return page


def _index(models: Models, links: Mapping[str, str]) -> bytes:
    """Return the index page with the models, their tasks and links. Its links are relative, for ``--root-path``."""
    rows = [
        f"<tr><td><code>{escape(', '.join(model.names))}</code></td>"
        f"<td>{escape(', '.join(model.llm.supported_tasks))}</td></tr>"
        for model in models.served
    ]
    # The models are inserted last, so that placeholders in their names are not replaced.
    values = {"version": millpond.__version__, **links, "models": "".join(rows)}
    page = STATIC.joinpath("index.html").read_text("utf-8")
    for name, value in values.items():
        page = page.replace(f"{{{name}}}", value, 1)
    return page.encode()
