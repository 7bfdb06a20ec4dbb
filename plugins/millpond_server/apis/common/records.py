"""Route specs of the built-in APIs, with targets relative to the package of the APIs."""

from dataclasses import replace
from typing import Any

from millpond_http.kinds import RouteSpec

PACKAGE = "millpond_server.apis"
TARGET_FIELDS = frozenset({"target", "request", "response"})


def route(**fields: Any) -> RouteSpec:
    """Return a route spec; ``target``, ``request`` and ``response`` are relative to ``millpond_server.apis``."""
    return RouteSpec(**_absolute(fields))


def variant(spec: RouteSpec, **changes: Any) -> RouteSpec:
    """Return a route spec with some fields changed; targets are relative, like those of ``route``."""
    return replace(spec, **_absolute(changes))


def _absolute(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: f"{PACKAGE}.{value}" if name in TARGET_FIELDS else value for name, value in fields.items()}
