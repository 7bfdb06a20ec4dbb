"""The ASGI application of a server: the routes that its models can serve, mounted by their records."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from millpond.pipeline.bound_task import PLUGIN
from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import RouteSpec
from millpond_server.apis.openapi import describe
from millpond_server.apis.pages import page_routes
from millpond_server.http.auth import RouteAccess
from millpond_server.http.endpoint import Endpoint
from millpond_server.http.errors import ApiError, answer
from millpond_server.runtime.models import Models
from millpond_server.runtime.settings import Settings
from millpond_server.runtime.state import State

logger = logging.getLogger(__name__)
SHOWN = 200  # characters of a path that leads nowhere
METRICS = "/metrics"
WATCHED = frozenset({METRICS, "/live", "/health", "/ready", "/ping"})  # what there is on a port for metrics
NAME = re.compile(r"(GET|POST|PUT|PATCH|DELETE|HEAD) (/\S*)")


class Application(Starlette):
    """Starlette's application, and a table of the plain paths beside it: most requests need no search."""

    def __init__(
        self, endpoints: Iterable[Endpoint], further: Iterable[Route] = (), unserved: Mapping[str, str] | None = None
    ) -> None:
        endpoints = list(endpoints)
        super().__init__(
            routes=[*(Route(each.path, each, methods=[each.method]) for each in endpoints), *further],
            exception_handlers={404: _not_found, 405: _not_allowed},
        )
        self.router.redirect_slashes = False  # Starlette redirects to the host that the client names: see _redirected
        self.access = RouteAccess(endpoints)
        self.unserved = dict(unserved or {})  # why known routes are not mounted, by method and path
        self._plain = {(each.method, each.path): each for each in endpoints if "{" not in each.path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        endpoint = None
        if scope["type"] == "http" and not scope.get("root_path"):
            endpoint = self._plain.get((scope["method"], scope["path"]))
        await (super().__call__ if endpoint is None else endpoint)(scope, receive, send)


def build_application(registry: Registry, state: State) -> Application:
    """Return every route of the built-in plugins, and of those that the settings name, that a model can serve.

    Raises:
        ValueError: If a record's name is no method and path, or a plugin that was named brings no route.
    """
    settings, models = state.settings, state.models
    entries = [
        entry
        for entry in mounted(registry, models, settings)
        if settings.metrics_port is None or _path(entry) != METRICS
    ]
    needs_keys = bool(settings.api_keys or settings.api_key_file)
    if needs_keys:
        _tell_of_public(entries)
    described = describe(
        entries,
        guarded=needs_keys,
        overload_status=settings.overload_status,
    )
    pages = page_routes(described, models, has_metrics=settings.metrics_port is None)
    endpoints = [Endpoint(entry, state) for entry in entries]
    return Application(endpoints, pages, unserved(registry, models))


def unserved(registry: Registry, models: Models) -> dict[str, str]:
    """Return why routes are not mounted that no model can serve, by their names."""
    served = ", ".join(sorted(models.tasks))
    hint = ' POST /pooling takes {"data": ...}, which their IO processor reads.' if models.tasks == {PLUGIN} else ""
    specs = [registry.routes.get(name).spec for name in registry.routes.names()]
    return {
        spec.name: f"{spec.name} needs a model that serves {' or '.join(spec.tasks)}; those here serve {served}.{hint}"
        for spec in specs
        if spec.tasks and not models.tasks & set(spec.tasks)
    }


def _tell_of_public(entries: Iterable[Entry[RouteSpec]]) -> None:
    """Log the routes of third parties that need no key."""
    for entry in entries:
        if entry.spec.public and entry.origin.rank != "builtin":
            logger.warning("the route %s of the plugin %s needs no API key", entry.spec.name, entry.origin.plugin)


def build_metrics_application(registry: Registry, state: State) -> Application:
    """Return the application of a port for metrics: these, and the routes of liveness."""
    entries = [entry for entry in mounted(registry, state.models, state.settings) if _path(entry) in WATCHED]
    return Application(Endpoint(entry, state) for entry in entries)


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
        if entry.spec.always or not entry.spec.tasks or models.tasks & set(entry.spec.tasks):
            yield entry


async def _not_found(request: Request, _: Exception) -> Response:
    target = _redirected(request)
    if target is not None:
        return Response(status_code=307, headers={"location": target})
    path = request.scope["path"][:SHOWN]  # not request.url, which is made of the client's Host header
    reason = request.app.unserved.get(f"{request.method} {request.scope['path']}")
    message = "Not Found" if reason is None else f"Not Found: {reason}"
    error = ApiError(404, message, reason="not_found", kind="NotFoundError", parameter=path)
    error.detail = "Not Found"  # to the letter what vLLM's web framework answers
    return answer(error)


def _redirected(request: Request) -> str | None:
    """Return where the path leads with or without its last slash, relative to it; None where there is no such route.

    A relative reference holds below any prefix of a proxy, and names no host.
    """
    path: str = request.scope["path"]
    bare = path.rstrip("/")
    other = bare if path.endswith("/") else f"{path}/"
    scope = {**request.scope, "path": other}
    if not other or all(route.matches(scope)[0] is Match.NONE for route in request.app.routes):
        return None
    last = quote(bare.rpartition("/")[2], safe="")
    target = "../" * (len(path) - len(bare)) + last if path.endswith("/") else f"./{last}/"
    query = quote(request.scope["query_string"], safe="=&%+/:@!$'()*,;?-._~")
    return f"{target}?{query}" if query else target


async def _not_allowed(request: Request, error: Exception) -> Response:
    response = answer(ApiError(405, f"{request.method} is not allowed here", reason="method"))
    allowed = getattr(error, "headers", None) or {}
    response.headers.update(allowed)
    return response
