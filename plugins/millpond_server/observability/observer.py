"""Observer: the outermost ASGI middleware. Gives each request its id and its times, and tells log and metrics of it."""

from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millpond.pipeline.call_stats import CallStats, current_stats
from millpond_server.http.call import HEADER, request_id_of
from millpond_server.observability.metrics import UNKNOWN
from millpond_server.runtime.state import State

GONE = 499  # the status of a request whose client did not wait for it; nobody is sent it
SHOWN = 200  # characters of a path or of the name of a client's program


class Observer:
    """Watches each request, in one wrapper around what is sent: there are many requests a second.

    Args:
        app: What serves them.
        state: What the server's parts know of one another.
        root_path: What stands before each path, where a proxy serves the server below one, and may or may not take it
            away.
    """

    def __init__(self, app: ASGIApp, state: State, root_path: str = "") -> None:
        self.app = app
        self.state = state
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve and watch one request."""
        if scope["type"] != "http":
            return
        began = perf_counter()
        if self.root_path and scope["path"].startswith(f"{self.root_path}/"):
            scope["path"] = scope["path"].removeprefix(self.root_path)
        scope["millpond.request_id"] = request_id_of(scope["headers"])
        stats = scope["millpond.stats"] = CallStats()
        current_stats.set(stats)
        seen = {"status": GONE, "bytes": 0}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers(scope, stats, began)]
            else:
                seen["bytes"] += len(message.get("body", b""))
            await send(message)

        self.state.running += 1
        try:
            await self.app(scope, receive, sending)
        finally:
            self.state.running -= 1
            self._tell(scope, stats, seen, perf_counter() - began)

    def _headers(self, scope: Scope, stats: CallStats, began: float) -> list[tuple[bytes, bytes]]:
        headers = [(HEADER, scope["millpond.request_id"].encode("ascii"))]
        if stats.prompts:
            value = (
                f"tokenise;dur={stats.tokenise_seconds * 1000:.1f}, queue;dur={stats.queue_seconds * 1000:.1f}, "
                f"compute;dur={stats.compute_seconds * 1000:.1f}, total;dur={(perf_counter() - began) * 1000:.1f}"
            )
            headers.append((b"server-timing", value.encode("ascii")))
        if self.state.draining:
            headers.append((b"connection", b"close"))
        return headers

    def _tell(self, scope: Scope, stats: CallStats, seen: dict[str, int], seconds: float) -> None:
        route, reason = scope.get("millpond.route", UNKNOWN), scope.get("millpond.reason")
        model = scope.get("millpond.model", "")
        self.state.metrics.answered(route, scope["method"], seen["status"], seconds)
        self.state.metrics.called(model, stats)
        if reason is not None:
            self.state.metrics.refused(reason)
        if not self.state.log.is_on:
            return
        told: dict[str, Any] = {
            "id": scope["millpond.request_id"],
            "method": scope["method"][:SHOWN],
            "path": scope["path"][:SHOWN],
            "status": seen["status"],
            "ms": round(seconds * 1000, 1),
            "bytes": seen["bytes"],
            "client": (scope.get("client") or ("-",))[0],
            "agent": _header(scope, b"user-agent")[:SHOWN],
        }
        if reason is not None:
            told["reason"] = reason
        if (trace := scope.get("millpond.trace")) is not None:
            told["trace"] = trace
        if stats.prompts:
            told |= {"model": model, "prompts": stats.prompts, "tokens": stats.tokens}
            told |= {
                "tokenise_ms": round(stats.tokenise_seconds * 1000, 1),
                "queue_ms": round(stats.queue_seconds * 1000, 1),
                "compute_ms": round(stats.compute_seconds * 1000, 1),
            }
        self.state.log.write(told)


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
