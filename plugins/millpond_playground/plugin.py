"""Registers the routes of the playground."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_http.kinds import RouteSpec


@hookimpl
def register_routes() -> Iterator[RouteSpec]:
    """Register the page and its files, which need no key: the requests of the page send it."""
    yield RouteSpec(
        name="GET /playground",
        target="millpond_playground.routes:page",
        summary="a page to try the models of this server",
        model_field=None,
        public=True,
    )
    yield RouteSpec(
        name="GET /playground/{file:path}",
        target="millpond_playground.routes:file",
        summary="a file of the playground",
        model_field=None,
        public=True,
    )
