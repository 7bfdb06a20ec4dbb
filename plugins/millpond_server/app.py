"""The ASGI application of a server: the routes that its models can serve, mounted by their records."""

import re
from collections.abc import Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millpond.registry import Entry, Registry
from millpond.specs import RouteSpec
from millpond_server.endpoint import Endpoint
from millpond_server.errors import ApiError, answer
from millpond_server.models import Models
from millpond_server.openapi import describe
from millpond_server.pages import page_routes
from millpond_server.settings import Settings

SHOWN = 200  # characters of a path that leads nowhere
METRICS = "/metrics"
WATCHED = frozenset({METRICS, "/live", "/health", "/ready", "/ping"})  # what there is on a port for metrics
NAME = re.compile(r"(GET|POST|PUT|DELETE|HEAD) (/\S*)")


def build_app(registry: Registry, models: Models, settings: Settings, state: Any = None) -> Starlette:
    """The application: every route of the built-in plugins, and of those that were named, that a model can serve.

    Raises:
        ValueError: If a record's name is no method and path, or a plugin that was named brings no route.
    """
    entries = [
        entry
        for entry in mounted(registry, models, settings)
        if settings.metrics_port is None or _path(entry) != METRICS
    ]
    endpoints = [Endpoint(entry, models, settings, state) for entry in entries]
    routes = [Route(endpoint.path, endpoint, methods=[endpoint.method]) for endpoint in endpoints]
    routes += page_routes(
        describe(
            entries,
            guarded=bool(settings.api_keys or settings.api_key_file),
            overload_status=settings.overload_status,
        )
    )
    return Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_allowed})


def build_watched(registry: Registry, models: Models, settings: Settings, state: Any) -> Starlette:
    """The application of a port for metrics: these, and whether the server lives."""
    entries = [entry for entry in mounted(registry, models, settings) if _path(entry) in WATCHED]
    endpoints = [Endpoint(entry, models, settings, state) for entry in entries]
    routes = [Route(endpoint.path, endpoint, methods=[endpoint.method]) for endpoint in endpoints]
    return Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_allowed})


def _path(entry: Entry[RouteSpec]) -> str:
    return entry.spec.name.partition(" ")[2]


def mounted(registry: Registry, models: Models, settings: Settings) -> Iterator[Entry[RouteSpec]]:
    """The records of the routes that are mounted."""
    brings = {entry.origin.plugin for entry in registry.routes.entries()}
    for plugin in settings.routes:
        if plugin not in brings:
            message = f"--routes {plugin}: that plugin brings no routes; these do: {', '.join(sorted(brings))}"
            raise ValueError(message)
    for name in registry.routes.names():
        entry = registry.routes.get(name)
        if entry.origin.rank == "installed" and entry.origin.plugin not in settings.routes:
            continue
        if NAME.fullmatch(entry.spec.name) is None:
            message = f"the route {entry.spec.name!r} of {entry.origin} is no method and path such as 'POST /v1/hello'"
            raise ValueError(message)
        if not entry.spec.tasks or models.tasks & set(entry.spec.tasks):
            yield entry


async def _not_found(request: Request, _: Exception) -> Response:
    return answer(
        ApiError(404, "Not Found", reason="not_found", kind="NotFoundError", parameter=request.url.path[:200])
    )


async def _not_allowed(request: Request, error: Exception) -> Response:
    response = answer(ApiError(405, f"{request.method} is not allowed here", reason="method"))
    allowed = getattr(error, "headers", None) or {}
    response.headers.update(allowed)
    return response
