"""Auth: an ASGI middleware that lets only who has a key pass, but for the few routes that say whether it lives."""

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from millpond_server.http.errors import ApiError, answer
from millpond_server.http.keys import Keys
from millpond_server.http.route_access import RouteAccess, keys_of
from millpond_server.runtime.settings import Settings

LIVENESS = frozenset({"/live", "/health", "/ready", "/ping"})
MODELS = frozenset({"/v1/models", "/models"})
METRICS = frozenset({"/metrics"})
OWN_HEADERS = (b"x-api-key", b"api-key")


class Auth:
    """Denies by default: whatever path is not named as public needs a key, known to the server or not."""

    def __init__(self, app: ASGIApp, keys: Keys, settings: Settings, routes: RouteAccess | None = None) -> None:
        self.app = app
        self.keys = keys
        self.routes = routes or RouteAccess()
        self.public = self.routes.public | public_paths(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer 401."""
        if not self.keys.are_needed or scope["path"] in self.public or self._is_known(scope["headers"]):
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
