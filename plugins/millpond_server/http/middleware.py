"""What stands around the application: who is watched, whom browsers may call for, and who may pass."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from millpond_server.http.auth import Auth
from millpond_server.http.hosts import Hosts, hosts_of
from millpond_server.http.keys import Keys
from millpond_server.observability.observer import Observer
from millpond_server.runtime.settings import Settings
from millpond_server.runtime.state import State

METHODS = ("GET", "POST")
EXPOSED = ("x-request-id", "server-timing", "retry-after", "retry-after-ms", "metadata")


def around_watched(app: ASGIApp, state: State, settings: Settings) -> ASGIApp:
    """The application of a port for metrics: watched like the other, and open to whoever reaches it by its name."""
    return Observer(_with_hosts(app, hosts_of(settings, settings.metrics_host)), state)


def around(app: ASGIApp, state: State, settings: Settings, keys: Keys) -> ASGIApp:
    """The application behind its middlewares; the first that a request meets is the last that is put on."""
    app = Auth(app, keys, settings, getattr(app, "access", None))
    if settings.cors_origins:  # before Auth: the browser's question whether it may ask bears no key
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=METHODS,
            allow_headers=("*",),
            expose_headers=EXPOSED,
        )
    app = Observer(_with_hosts(app, hosts_of(settings)), state, settings.root_path)
    return app if state.traces is None else state.traces.around(app)


def _with_hosts(app: ASGIApp, names: tuple[str, ...] | None) -> ASGIApp:
    return app if names is None else Hosts(app, names)
