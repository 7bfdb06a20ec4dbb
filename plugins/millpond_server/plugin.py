"""Names the routes and the command that the server comes with."""

from collections.abc import Iterator

from millpond.hookspecs import hookimpl
from millpond.specs import CommandSpec, RouteSpec
from millpond_server.catalogue import HERE, rows


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Serve models over HTTP."""
    yield CommandSpec(name="serve", target=f"{HERE}.serve:app", summary="Serve models over HTTP.")


@hookimpl
def register_routes() -> Iterator[RouteSpec]:
    """The routes of many APIs, on one set of models."""
    yield from (row.spec() for row in rows())
    for name, handler, summary in (
        ("GET /health", "health", "whether its engines turn"),
        ("GET /ping", "health", "whether its engines turn"),
        ("POST /ping", "health", "whether its engines turn"),
        ("GET /ready", "ready", "whether it takes requests"),
        ("GET /live", "live", "whether the process answers"),
        ("GET /load", "load", "how busy it is"),
        ("GET /metrics", "metrics", "what it measures, for Prometheus"),
        ("GET /version", "version", "the version of Millpond"),
    ):
        yield RouteSpec(name=name, target=f"{HERE}.routes.health:{handler}", summary=summary)
