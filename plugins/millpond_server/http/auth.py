"""AuthMiddleware: requires an API key on every route that is not public."""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from millpond.pipeline.cache import SHARED, cache_owner
from millpond_server.http.call import OWNER
from millpond_server.http.errors import ApiError, error_response
from millpond_server.http.keys import ApiKeys, digest_of
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
        self.shares_cache = settings.cache_shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond with 401."""
        key = self._valid_key(scope["headers"])
        if key is not None or scope["path"] in self.public:
            await self._serve(key, scope, receive, send)
            return
        endpoint = self.routes.find(scope)
        if endpoint is not None and endpoint.entry.spec.public:
            await self._serve(None, scope, receive, send)
            return
        key = next((key for key in route_keys(scope, endpoint) if self.keys.is_valid(key)), None)
        if key is not None:
            await self._serve(key, scope, receive, send)
            return
        scope["millpond.reason"] = "key"
        message = "a valid API key is needed: send it as 'Authorization: Bearer KEY'"
        render = error_response if endpoint is None else endpoint.render
        response = render(ApiError(401, message, reason="key"))
        response.headers["www-authenticate"] = "Bearer"
        await response(scope, receive, send)

    async def _serve(self, key: bytes | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; its results are cached for this key only, unless keys share the cache."""
        if key is not None:
            scope[OWNER] = digest_of(key).hex()
            cache_owner.set(SHARED if self.shares_cache else digest_of(key))
        await self.app(scope, receive, send)

    def _valid_key(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """Return the first valid key; None without one. All are compared, so that the time does not depend on them."""
        valid: list[bytes] = []
        for name, value in headers:
            if name == b"authorization":
                scheme, _, key = value.partition(b" ")
                if self.keys.is_valid(key.strip()) and scheme.lower() == b"bearer":
                    valid.append(key.strip())
            elif name in API_KEY_HEADERS and self.keys.is_valid(value.strip()):
                valid.append(value.strip())
        return valid[0] if valid else None


def public_paths(settings: Settings) -> frozenset[str]:
    """Return the additional paths that need no key according to the settings."""
    models = MODEL_LIST_PATHS if settings.public_models else frozenset()
    metrics = METRICS_PATHS if settings.public_metrics else frozenset()
    return models | metrics


class RouteAccess:
    """Lookup of an application's endpoints by method and path.

    Attributes:
        public: The paths of routes that need no key, without those with parameters.
    """

    def __init__(self, endpoints: "Iterable[Endpoint]") -> None:
        endpoints = list(endpoints)
        self.public = frozenset(
            endpoint.path for endpoint in endpoints if endpoint.entry.spec.public and "{" not in endpoint.path
        )
        # Paths without parameters first, as in the lookup of the application.
        endpoints.sort(key=lambda endpoint: "{" in endpoint.path)
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
