"""AuthMiddleware: requires an API key on every route that is not public."""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from millpond_server.http.errors import ApiError, error_response
from millpond_server.http.keys import ApiKeys
from millpond_server.runtime.settings import Settings

if TYPE_CHECKING:
    import re

    from millpond_server.http.endpoint import Endpoint

HEALTH_PATHS = frozenset({"/live", "/health", "/ready", "/ping"})
MODEL_LIST_PATHS = frozenset({"/v1/models", "/models"})
METRICS_PATHS = frozenset({"/metrics"})
MAX_QUERY_FIELDS = 100
API_KEY_HEADERS = (b"x-api-key", b"api-key")


class AuthMiddleware:
    """Requires an API key on every path that is not public, including unknown paths."""

    def __init__(self, app: ASGIApp, keys: ApiKeys, settings: Settings, routes: "RouteAccess") -> None:
        self.app = app
        self.keys = keys
        self.routes = routes
        self.public = self.routes.public | public_paths(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond with 401."""
        if scope["path"] in self.public or self._has_valid_key(scope["headers"]):
            await self.app(scope, receive, send)
            return
        endpoint = self.routes.find(scope)
        if any(self.keys.is_valid(key) for key in route_keys(scope, endpoint)):
            await self.app(scope, receive, send)
            return
        scope["millpond.reason"] = "key"
        message = "a valid API key is needed: send it as 'Authorization: Bearer KEY'"
        render = error_response if endpoint is None else endpoint.render
        response = render(ApiError(401, message, reason="key"))
        response.headers["www-authenticate"] = "Bearer"
        await response(scope, receive, send)

    def _has_valid_key(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        is_valid = False
        for name, value in headers:
            if name == b"authorization":
                scheme, _, key = value.partition(b" ")
                is_valid |= self.keys.is_valid(key.strip()) and scheme.lower() == b"bearer"
            elif name in API_KEY_HEADERS:
                is_valid |= self.keys.is_valid(value.strip())
        return is_valid


def public_paths(settings: Settings) -> frozenset[str]:
    """Return the additional paths that need no key according to the settings."""
    models = MODEL_LIST_PATHS if settings.public_models else frozenset()
    metrics = METRICS_PATHS if settings.public_metrics else frozenset()
    return models | metrics


class RouteAccess:
    """Lookup of an application's endpoints by method and path.

    Attributes:
        public: The paths of routes that need no key.
    """

    def __init__(self, endpoints: "Iterable[Endpoint]") -> None:
        endpoints = list(endpoints)
        self.public = frozenset(endpoint.path for endpoint in endpoints if endpoint.entry.spec.public)
        self._routes: list[tuple[str, re.Pattern[str], Endpoint]] = [
            (endpoint.method, compile_path(endpoint.path)[0], endpoint) for endpoint in endpoints
        ]

    def find(self, scope: Scope) -> "Endpoint | None":
        """Return the endpoint of a request; None for an unknown route."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = scope["path"]
        return next(
            (endpoint for name, pattern, endpoint in self._routes if name == method and pattern.match(path)), None
        )


def route_keys(scope: Scope, endpoint: "Endpoint | None") -> list[bytes]:
    """Return the keys of a request in the headers and query fields that its route declares."""
    if endpoint is None:
        return []
    spec = endpoint.entry.spec
    names = {name.lower().encode("latin-1") for name in spec.key_headers}
    keys = [value.strip() for name, value in scope["headers"] if name in names]
    if spec.key_query:
        fields = parse_qsl(
            scope["query_string"].decode("latin-1"), max_num_fields=MAX_QUERY_FIELDS, errors="surrogateescape"
        )
        keys += [value.encode("utf-8", "surrogateescape") for name, value in fields if name in spec.key_query]
    return keys
