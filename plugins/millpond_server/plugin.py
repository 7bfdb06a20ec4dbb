"""Registers the routes and the command of the server."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import CommandSpec, RouteSpec
from millpond_server.apis.catalogue import routes


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Register ``millpond serve``."""
    yield CommandSpec(name="serve", target="millpond_server.command.serve:app", summary="Serve models over HTTP.")


@hookimpl
def register_routes() -> Iterator[RouteSpec]:
    """Register the routes of all APIs."""
    yield from routes()
