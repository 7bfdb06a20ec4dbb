"""Names the routes and the command that the server comes with."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import CommandSpec, RouteSpec
from millpond_server.apis.catalogue import HERE, rows


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Serve models over HTTP."""
    yield CommandSpec(name="serve", target=f"{HERE}.command.serve:app", summary="Serve models over HTTP.")


@hookimpl
def register_routes() -> Iterator[RouteSpec]:
    """The routes of many APIs, on one set of models."""
    yield from (row.spec() for row in rows())
    for name, handler, summary, public in (
        ("GET /health", "health", "whether its engines turn", True),
        ("GET /ping", "health", "whether its engines turn", True),
        ("POST /ping", "health", "whether its engines turn", True),
        ("GET /ready", "ready", "whether it takes requests", True),
        ("GET /live", "live", "whether the process answers", True),
        ("GET /load", "load", "how busy it is", False),
        ("GET /metrics", "metrics", "what it measures, for Prometheus", False),
        ("GET /version", "version", "the version of Millpond", False),
    ):
        yield RouteSpec(name=name, target=f"{HERE}.apis.millpond.health:{handler}", summary=summary, public=public)
