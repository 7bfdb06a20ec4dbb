"""AccessLogMiddleware: assigns request ids, measures each request, and writes the access log and metrics."""

from time import perf_counter
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millpond.pipeline.call_stats import CallStats, current_stats
from millpond_server.http.call import REQUEST_ID_HEADER, request_id_of
from millpond_server.observability.metrics import UNKNOWN_ROUTE
from millpond_server.runtime.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable

CACHE_HEADER = b"x-millpond-cache"
TRUNCATED_HEADER = b"x-millpond-truncated"
CLIENT_CLOSED_REQUEST = 499  # the logged status of a request whose client disconnected
MAX_LOGGED_CHARS = 200  # of a method, a path or a user agent


class AccessLogMiddleware:
    """Measures each request. Ids, log and metrics share one wrapper around `send`, to keep the cost per request low.

    Args:
        app: The application.
        state: The state of the server.
        root_path: The path prefix under which a proxy serves the server; the proxy may or may not remove it.
    """

    def __init__(self, app: ASGIApp, state: State, root_path: str = "") -> None:
        self.app = app
        self.state = state
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve and measure one request."""
        if scope["type"] != "http":
            return
        start = perf_counter()
        if self.root_path and scope["path"].startswith(f"{self.root_path}/"):
            scope["path"] = scope["path"].removeprefix(self.root_path)
        scope["millpond.request_id"] = request_id_of(scope["headers"])
        stats = scope["millpond.stats"] = CallStats()
        current_stats.set(stats)
        status, num_bytes = CLIENT_CLOSED_REQUEST, 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status, num_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers(scope, stats, start)]
            else:
                num_bytes += len(message.get("body", b""))
            await send(message)

        self.state.running += 1
        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            self.state.running -= 1
            self._record(scope, stats, status, num_bytes, perf_counter() - start)

    def _headers(self, scope: Scope, stats: CallStats, start: float) -> list[tuple[bytes, bytes]]:
        headers = [(REQUEST_ID_HEADER, scope["millpond.request_id"].encode("ascii"))]
        if stats.prompts:
            value = (
                f"tokenise;dur={stats.tokenise_seconds * 1000:.1f}, queue;dur={stats.queue_seconds * 1000:.1f}, "
                f"compute;dur={stats.compute_seconds * 1000:.1f}, total;dur={(perf_counter() - start) * 1000:.1f}"
            )
            headers.append((b"server-timing", value.encode("ascii")))
        if stats.cache_hits or stats.cache_misses:
            headers.append((CACHE_HEADER, b"hits=%d, misses=%d" % (stats.cache_hits, stats.cache_misses)))
        if stats.truncated:
            headers.append((TRUNCATED_HEADER, b"%d" % stats.truncated))
        if self.state.draining:
            headers.append((b"connection", b"close"))
        return headers

    def _record(self, scope: Scope, stats: CallStats, status: int, num_bytes: int, seconds: float) -> None:
        """Write a request to the metrics and the access log."""
        route, reason = scope.get("millpond.route", UNKNOWN_ROUTE), scope.get("millpond.reason")
        model = scope.get("millpond.model", "")
        metrics = self.state.metrics
        metrics.record_response(route, scope["method"], status, seconds)
        if stats.prompts:
            metrics.record_call(model, stats)
        if reason is not None:
            metrics.record_refused(reason)
        if not self.state.log.is_on:
            return
        fields: dict[str, Any] = {
            "id": scope["millpond.request_id"],
            "method": scope["method"][:MAX_LOGGED_CHARS],
            "path": scope["path"][:MAX_LOGGED_CHARS],
            "status": status,
            "ms": round(seconds * 1000, 1),
            "bytes": num_bytes,
            "client": (scope.get("client") or ("-",))[0],
            "agent": _header(scope, b"user-agent")[:MAX_LOGGED_CHARS],
        }
        if reason is not None:
            fields["reason"] = reason
        if (trace := scope.get("millpond.trace")) is not None:
            fields["trace"] = trace
        if stats.prompts:
            fields |= {"model": model, "prompts": stats.prompts, "tokens": stats.tokens}
            fields |= {
                "tokenise_ms": round(stats.tokenise_seconds * 1000, 1),
                "queue_ms": round(stats.queue_seconds * 1000, 1),
                "compute_ms": round(stats.compute_seconds * 1000, 1),
            }
        self.state.log.write(fields)


def _header(scope: Scope, name: bytes) -> str:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return ""
