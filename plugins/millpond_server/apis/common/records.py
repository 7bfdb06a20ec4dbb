"""Records of built-in routes, written with targets relative to the folder of the APIs."""

from dataclasses import replace
from typing import Any

from millpond.plugin.specs import RouteSpec

FOLDER = "millpond_server.apis"
PATHS = frozenset({"target", "request", "response"})


def route(**fields: Any) -> RouteSpec:
    """Return the record of a route; ``target``, ``request`` and ``response`` are below ``millpond_server.apis``."""
    return RouteSpec(**_absolute(fields))


def variant(spec: RouteSpec, **changes: Any) -> RouteSpec:
    """Return a record with some fields changed, as ``route`` takes them."""
    return replace(spec, **_absolute(changes))


def _absolute(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: f"{FOLDER}.{value}" if name in PATHS else value for name, value in fields.items()}
