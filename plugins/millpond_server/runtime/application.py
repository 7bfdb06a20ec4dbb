"""The ASGI application of a server, with the routes that its models can serve."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from urllib.parse import quote

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from millpond.pipeline.bound_task import PLUGIN
from millpond.plugin.registry import Entry, Registry
from millpond.types.errors import UnknownNameError
from millpond_http.kinds import RouteSpec
from millpond_server.apis.openapi import describe
from millpond_server.apis.pages import page_routes
from millpond_server.http.auth import RouteAccess
from millpond_server.http.endpoint import Endpoint
from millpond_server.http.errors import ApiError, error_response
from millpond_server.runtime.models import Models
from millpond_server.runtime.settings import Settings
from millpond_server.runtime.state import State

logger = logging.getLogger(__name__)
MAX_SHOWN_PATH_CHARS = 200
MIN_SIMILARITY = 0.75  # between an unknown path and the suggested one
METRICS_PATH = "/metrics"
PLAYGROUND = "GET /playground"
BATCH_PATHS = ("/v1/files", "/v1/batches")  # mounted with --batch-dir
METRICS_PORT_PATHS = frozenset({METRICS_PATH, "/live", "/health", "/ready", "/ping"})
ROUTE_NAME = re.compile(r"(GET|POST|PUT|PATCH|DELETE|HEAD) (/\S*)")


class Application(Starlette):
    """Starlette's application, with a lookup table for paths without parameters.

    Args:
        endpoints: The endpoints of the API.
        pages: Other routes, such as the documentation.
        unserved: The reason why a known route is not mounted, by method and path.

    Attributes:
        access: The lookup of endpoints by request.
        batch_endpoints: The paths that requests of batches may go to: those of routes with a JSON body.
    """

    def __init__(
        self, endpoints: Iterable[Endpoint], pages: Iterable[Route] = (), unserved: Mapping[str, str] | None = None
    ) -> None:
        endpoints = list(endpoints)
        routes = [Route(endpoint.path, endpoint, methods=[endpoint.method]) for endpoint in endpoints]
        super().__init__(routes=[*routes, *pages], exception_handlers={404: _not_found, 405: _not_allowed})
        self.router.redirect_slashes = False  # Starlette redirects to the Host of the request: see _redirect_target
        self.access = RouteAccess(endpoints)
        self._endpoints = {
            (endpoint.method, endpoint.path): endpoint for endpoint in endpoints if "{" not in endpoint.path
        }
        self.batch_endpoints = frozenset(
            path
            for (method, path), endpoint in self._endpoints.items()
            if method == "POST" and endpoint.request_model is not None and not path.startswith(BATCH_PATHS)
        )
        self.unserved = dict(unserved or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        endpoint = None
        if scope["type"] == "http" and not scope.get("root_path"):
            endpoint = self._endpoints.get((scope["method"], scope["path"]))
        await (super().__call__ if endpoint is None else endpoint)(scope, receive, send)


def build_application(registry: Registry, state: State) -> Application:
    """Return an application with the routes of the built-in and selected plugins that a model can serve.

    Raises:
        ValueError: If the name of a route is not a method and a path, or a selected plugin provides no routes.
    """
    settings, models = state.settings, state.models
    entries = [
        entry
        for entry in mounted(registry, models, settings)
        if settings.metrics_port is None or _path(entry) != METRICS_PATH
    ]
    needs_keys = bool(settings.api_keys or settings.api_key_file)
    if needs_keys:
        _warn_of_public_routes(entries)
    description = describe(
        entries, needs_keys=needs_keys, overload_status=settings.overload_status, items=items_of_tasks(registry)
    )
    has_playground = any(entry.spec.name == PLAYGROUND for entry in entries)
    pages = page_routes(description, models, has_metrics=settings.metrics_port is None, has_playground=has_playground)
    endpoints = [Endpoint(entry, state) for entry in entries]
    return Application(endpoints, pages, unserved(registry, models))


def items_of_tasks(registry: Registry) -> dict[str, type[BaseModel]]:
    """Return the types of the objects that tasks read, by the names of the tasks; without those that are invalid."""
    items: dict[str, type[BaseModel]] = {}
    for entry in registry.tasks.entries():
        if entry.spec.item is None:
            continue
        try:
            item = entry.load("item")
        except UnknownNameError as error:  # calls of the task report it too
            logger.warning("%s", error)
            continue
        if isinstance(item, type) and issubclass(item, BaseModel):
            items[entry.spec.name] = item
    return items


def unserved(registry: Registry, models: Models) -> dict[str, str]:
    """Return the reason for each route that is not mounted because no model can serve it, by its name."""
    tasks = ", ".join(sorted(models.tasks))
    hint = ' POST /pooling takes {"data": ...}, which their IO processor reads.' if models.tasks == {PLUGIN} else ""
    specs = [registry[RouteSpec].get(name).spec for name in registry[RouteSpec].names()]
    return {
        spec.name: f"{spec.name} needs a model that serves {' or '.join(spec.tasks)}; those here serve {tasks}.{hint}"
        for spec in specs
        if spec.tasks and not models.tasks & set(spec.tasks)
    }


def _warn_of_public_routes(entries: Iterable[Entry[RouteSpec]]) -> None:
    """Log a warning for each route of a third-party plugin that needs no API key."""
    for entry in entries:
        if entry.spec.public and entry.origin.rank != "builtin":
            logger.warning("the route %s of the plugin %s needs no API key", entry.spec.name, entry.origin.plugin)


def build_metrics_application(registry: Registry, state: State) -> Application:
    """Return the application of the metrics port: the metrics and health routes."""
    entries = mounted(registry, state.models, state.settings)
    return Application(Endpoint(entry, state) for entry in entries if _path(entry) in METRICS_PORT_PATHS)


def _path(entry: Entry[RouteSpec]) -> str:
    return entry.spec.name.partition(" ")[2]


def mounted(registry: Registry, models: Models, settings: Settings) -> Iterator[Entry[RouteSpec]]:
    """Yield the registry entries of the routes that are mounted."""
    _check_plugins(registry, settings)
    for name in registry[RouteSpec].names():
        entry = registry[RouteSpec].get(name)
        if entry.origin.rank == "installed" and entry.origin.plugin not in settings.routes:
            continue
        if entry.origin.plugin in settings.disabled_routes:
            continue
        if ROUTE_NAME.fullmatch(entry.spec.name) is None:
            message = (
                f"invalid route name {entry.spec.name!r} of {entry.origin}: expected a method and a path, such as "
                "'POST /v1/hello'"
            )
            raise ValueError(message)
        if settings.batch_dir is None and _path(entry).startswith(BATCH_PATHS):
            continue
        if entry.spec.always or not entry.spec.tasks or models.tasks & set(entry.spec.tasks):
            yield entry


def _check_plugins(registry: Registry, settings: Settings) -> None:
    """Refuse settings that name a plugin without routes.

    Raises:
        ValueError: With the names of the plugins that have routes.
    """
    plugins = {entry.origin.plugin for entry in registry[RouteSpec].entries()}
    for option, names in (("--routes", settings.routes), ("--disable-routes", settings.disabled_routes)):
        for plugin in names:
            if plugin not in plugins:
                available = ", ".join(sorted(plugins))
                message = f"{option} {plugin}: unknown plugin, or it provides no routes. Available: {available}"
                raise ValueError(message)


async def _not_found(request: Request, _: Exception) -> Response:
    target = _redirect_target(request)
    if target is not None:
        return Response(status_code=307, headers={"location": target})
    path = request.scope["path"][:MAX_SHOWN_PATH_CHARS]  # request.url would contain the client's Host header
    reason = request.app.unserved.get(f"{request.method} {request.scope['path']}")
    message = f"Not Found: {reason}" if reason is not None else f"Not Found{_suggestion(request, path)}"
    error = ApiError(404, message, reason="not_found", kind="NotFoundError", parameter=path)
    error.detail = "Not Found"  # the exact text of vLLM's web framework
    return error_response(error)


def _suggestion(request: Request, path: str) -> str:
    """Return the most similar path, first among those of the method of the request; empty if none is similar."""
    paths: dict[str, set[str]] = {}
    for route in request.app.routes:
        for method in route.methods or ():
            paths.setdefault(method, set()).add(route.path)
    for method in dict.fromkeys((request.method, *paths)):
        if close := get_close_matches(path, paths.get(method, ()), n=1, cutoff=MIN_SIMILARITY):
            return f": did you mean {method} {close[0]}?"
    return ""


def _redirect_target(request: Request) -> str | None:
    """Return the relative URL of the path with or without its trailing slash; None if that route does not exist.

    A relative URL works below any path prefix of a proxy, and contains no host name.
    """
    path: str = request.scope["path"]
    without_slash = path.rstrip("/")
    other_path = without_slash if path.endswith("/") else f"{path}/"
    scope = {**request.scope, "path": other_path}
    if not other_path or all(route.matches(scope)[0] is Match.NONE for route in request.app.routes):
        return None
    last_part = quote(without_slash.rpartition("/")[2], safe="")
    target = "../" * (len(path) - len(without_slash)) + last_part if path.endswith("/") else f"./{last_part}/"
    query = quote(request.scope["query_string"], safe="=&%+/:@!$'()*,;?-._~")
    return f"{target}?{query}" if query else target


async def _not_allowed(request: Request, error: Exception) -> Response:
    response = error_response(ApiError(405, f"{request.method} is not allowed here", reason="method"))
    response.headers.update(getattr(error, "headers", None) or {})
    return response
