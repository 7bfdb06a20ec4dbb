"""Registers the components of this package."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_http.kinds import RouteSpec

MILLPOND_API = 1


@hookimpl
def register_routes() -> Iterator[RouteSpec]:
    """Register a route, mounted by ``millpond serve MODEL --routes addon_name``."""
    yield RouteSpec(
        name="POST /v1/addon_name",
        target="addon_package.routes:addon_name",
        summary="return the cosine similarities of all pairs of texts",
        tasks=("embed",),
        request="addon_package.routes:AddonNameRequest",
        response="addon_package.routes:AddonNameResponse",
    )
