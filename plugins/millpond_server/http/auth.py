"""Auth: an ASGI middleware that requires an API key on every route that is not public."""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from millpond_server.http.errors import ApiError, answer
from millpond_server.http.keys import Keys
from millpond_server.runtime.settings import Settings

if TYPE_CHECKING:
    import re

    from millpond_server.http.endpoint import Endpoint


LIVENESS = frozenset({"/live", "/health", "/ready", "/ping"})
MODELS = frozenset({"/v1/models", "/models"})
METRICS = frozenset({"/metrics"})
MOST_FIELDS = 100  # of a query string that are looked at
OWN_HEADERS = (b"x-api-key", b"api-key")


class Auth:
    """Denies by default: whatever path is not named as public needs a key, known to the server or not."""

    def __init__(self, app: ASGIApp, keys: Keys, settings: Settings, routes: "RouteAccess") -> None:
        self.app = app
        self.keys = keys
        self.routes = routes
        self.public = self.routes.public | public_paths(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer 401."""
        if scope["path"] in self.public or self._is_known(scope["headers"]):
            await self.app(scope, receive, send)
            return
        route = self.routes.find(scope)
        if any(self.keys.take(key) for key in keys_of(scope, route)):
            await self.app(scope, receive, send)
            return
        scope["millpond.reason"] = "key"
        message = "a valid API key is needed: send it as 'Authorization: Bearer KEY'"
        response = (answer if route is None else route.render)(ApiError(401, message, reason="key"))
        response.headers["www-authenticate"] = "Bearer"
        await response(scope, receive, send)

    def _is_known(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        found = False
        for name, value in headers:
            if name == b"authorization":
                scheme, _, key = value.partition(b" ")
                found |= self.keys.take(key.strip()) and scheme.lower() == b"bearer"
            elif name in OWN_HEADERS:
                found |= self.keys.take(value.strip())
        return found


def public_paths(settings: Settings) -> frozenset[str]:
    """The further paths that need no key, by the settings."""
    models = MODELS if settings.public_models else frozenset()
    metrics = METRICS if settings.public_metrics else frozenset()
    return models | metrics


class RouteAccess:
    """The routes of an application, found by method and path.

    Attributes:
        public: The paths whose routes need no key.
    """

    def __init__(self, endpoints: "Iterable[Endpoint]") -> None:
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
