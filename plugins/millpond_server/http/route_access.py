"""RouteAccess: what each mounted route states of its keys and errors, for the middleware that asks for keys."""

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.routing import compile_path
from starlette.types import Scope

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    from millpond_server.http.endpoint import Endpoint

MOST_FIELDS = 100  # of a query string that are looked at


class RouteAccess:
    """The routes of an application, found by method and path.

    Attributes:
        public: The paths whose routes need no key.
    """

    def __init__(self, endpoints: "Iterable[Endpoint]" = ()) -> None:
        endpoints = list(endpoints)
        self.public = frozenset(each.path for each in endpoints if each.entry.spec.public)
        self._routes: list[tuple[str, re.Pattern[str], Endpoint]] = [
            (each.method, compile_path(each.path)[0], each) for each in endpoints
        ]

    def find(self, scope: Scope) -> "Endpoint | None":
        """Return the route that a request is for; None if there is none."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = scope["path"]
        return next((each for known, pattern, each in self._routes if known == method and pattern.match(path)), None)


def keys_of(scope: Scope, endpoint: "Endpoint | None") -> list[bytes]:
    """Return the keys in the headers and the query that a route names for them, beside the usual headers."""
    if endpoint is None:
        return []
    spec = endpoint.entry.spec
    names = {name.lower().encode("latin-1") for name in spec.key_headers}
    found = [value.strip() for name, value in scope["headers"] if name in names]
    if spec.key_query:
        fields = parse_qsl(
            scope["query_string"].decode("latin-1"), max_num_fields=MOST_FIELDS, errors="surrogateescape"
        )
        found += [value.encode("utf-8", "surrogateescape") for name, value in fields if name in spec.key_query]
    return found
