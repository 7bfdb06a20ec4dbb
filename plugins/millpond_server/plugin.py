"""Registers the routes and the command of the server."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_command.kinds import ApplicationSpec, CommandSpec
from millpond_http.kinds import RouteSpec
from millpond_server.apis.catalogue import routes


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Register ``millpond serve`` and ``millpond run-batch``."""
    yield CommandSpec(
        name="serve",
        target="millpond_server.command.serve:app",
        summary="Serve models over HTTP.",
        group="Serve and run in bulk",
    )
    yield CommandSpec(
        name="run-batch",
        target="millpond_server.command.run_batch:app",
        summary="Run a file of HTTP requests without a server.",
        group="Serve and run in bulk",
    )


@hookimpl
def register_routes() -> Iterator[RouteSpec]:
    """Register the routes of all APIs."""
    yield from routes()


@hookimpl
def register_applications() -> Iterator[ApplicationSpec]:
    """Register the application for servers of other programs."""
    yield ApplicationSpec(
        name="http",
        target="millpond_server.runtime.hosting:HostedApplication",
        summary="The routes of `millpond serve` as an ASGI application.",
    )
