"""The middleware of a server, in the order in which a request meets it."""

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from millpond_server.http.auth import Auth, RouteAccess
from millpond_server.http.hosts import Hosts, hosts_of
from millpond_server.http.keys import Keys
from millpond_server.observability.observer import Observer
from millpond_server.runtime.settings import Settings
from millpond_server.runtime.state import State

CORS_METHODS = ("GET", "POST")
CORS_EXPOSED_HEADERS = ("x-request-id", "server-timing", "retry-after", "retry-after-ms", "metadata")


def api_middleware(settings: Settings, state: State, keys: Keys, access: RouteAccess) -> list[Middleware]:
    """Return the middleware of the server's own port, outermost first; what an option switches off is left out."""
    tracing, names = state.traces, hosts_of(settings)
    stack = [
        tracing and Middleware(tracing.around),
        Middleware(Observer, state, settings.root_path),  # request ids, access log and metrics
        names is not None and Middleware(Hosts, names),
        settings.cors_origins  # before Auth: a preflight request of a browser has no key
        and Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=CORS_METHODS,
            allow_headers=("*",),
            expose_headers=CORS_EXPOSED_HEADERS,
        ),
        keys.are_needed and Middleware(Auth, keys, settings, access),
    ]
    return [each for each in stack if isinstance(each, Middleware)]


def metrics_middleware(settings: Settings, state: State) -> list[Middleware]:
    """Return the middleware of the port for metrics, which needs no key."""
    names = hosts_of(settings, settings.metrics_host)
    stack = [Middleware(Observer, state), names is not None and Middleware(Hosts, names)]
    return [each for each in stack if isinstance(each, Middleware)]


def wrapped(app: ASGIApp, middleware: list[Middleware]) -> ASGIApp:
    """Return the application inside its middleware."""
    for each in reversed(middleware):
        app = each.cls(app, *each.args, **each.kwargs)
    return app
