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
    for path in ("/health", "/ping"):
        yield RouteSpec(name=f"GET {path}", target=f"{HERE}.routes.health:health", summary="whether its engines turn")
    yield RouteSpec(name="POST /ping", target=f"{HERE}.routes.health:health", summary="whether its engines turn")
    yield RouteSpec(name="GET /live", target=f"{HERE}.routes.health:live", summary="whether the process answers")
    yield RouteSpec(name="GET /version", target=f"{HERE}.routes.health:version", summary="the version of Millpond")
