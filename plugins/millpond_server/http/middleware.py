"""The middleware of a server, in the order in which it handles a request."""

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from millpond_server.http.auth import AuthMiddleware, RouteAccess
from millpond_server.http.hosts import HostsMiddleware, hosts_of
from millpond_server.http.keys import ApiKeys
from millpond_server.observability.access_log_middleware import AccessLogMiddleware
from millpond_server.runtime.settings import Settings
from millpond_server.runtime.state import State

CORS_METHODS = ("GET", "POST", "DELETE")
CORS_EXPOSED_HEADERS = (
    "x-request-id",
    "server-timing",
    "retry-after",
    "retry-after-ms",
    "metadata",
    "x-millpond-cache",
    "x-millpond-space",
    "x-millpond-truncated",
)


def api_middleware(settings: Settings, state: State, keys: ApiKeys, access: RouteAccess) -> list[Middleware]:
    """Return the middleware of the API's port, outermost first, without disabled ones."""
    tracing, names = state.tracing, hosts_of(settings)
    stack = [
        tracing and Middleware(tracing.middleware),
        Middleware(AccessLogMiddleware, state, settings.root_path),
        names is not None and Middleware(HostsMiddleware, names),
        settings.cors_origins  # outside of AuthMiddleware, because preflight requests of browsers have no key
        and Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=CORS_METHODS,
            allow_headers=("*",),
            expose_headers=CORS_EXPOSED_HEADERS,
        ),
        keys.are_required and Middleware(AuthMiddleware, keys, settings, access),
    ]
    return [layer for layer in stack if isinstance(layer, Middleware)]


def metrics_middleware(settings: Settings, state: State) -> list[Middleware]:
    """Return the middleware of the metrics port, which needs no key."""
    names = hosts_of(settings, settings.metrics_host)
    stack = [Middleware(AccessLogMiddleware, state), names is not None and Middleware(HostsMiddleware, names)]
    return [layer for layer in stack if isinstance(layer, Middleware)]


def wrapped(app: ASGIApp, middleware: list[Middleware]) -> ASGIApp:
    """Return the application inside its middleware."""
    for layer in reversed(middleware):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    return app
