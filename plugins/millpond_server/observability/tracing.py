"""Tracing: a span of OpenTelemetry for each request, with the stages of its work below it; no text of inputs."""

import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points

from opentelemetry import context, propagate, trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import millpond
from millpond.pipeline.call_stats import CallStats
from millpond_server.http.auth import LIVENESS, METRICS
from millpond_server.observability.metrics import METHODS

GROUP = "opentelemetry_traces_exporter"
SERVER_FAULT = 500  # from this status on
SHOWN = 200  # characters of a path or of the name of a client's program
LAST_SPANS = 2.0  # seconds for them to leave when the server ends
NANO = 10**9


def provider_of(exporters: Sequence[str], environment: Mapping[str, str]) -> trace.TracerProvider:
    """What makes spans and hands them to exporters; the one that a program around this one has set, if it has.

    Args:
        exporters: The names of their entry points.
        environment: Where the service's name may stand; what else it says, OpenTelemetry reads by itself.

    Raises:
        ValueError: If an exporter is not installed, or cannot be set up.
    """
    found = trace.get_tracer_provider()
    if not isinstance(found, trace.ProxyTracerProvider):
        return found
    said = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = bool(environment.get("OTEL_SERVICE_NAME")) or f"{SERVICE_NAME}=" in said
    own = {"service.version": millpond.__version__}
    resource = Resource.create(own if named else {**own, SERVICE_NAME: "millpond"})
    made = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in exporters:
        entries = entry_points(group=GROUP, name=name)
        if not entries:
            installed = ", ".join(sorted(entry.name for entry in entry_points(group=GROUP)))
            message = f"the exporter {name!r} is not installed; there are: {installed}"
            raise ValueError(message)
        made.add_span_processor(BatchSpanProcessor(next(iter(entries)).load()()))
    trace.set_tracer_provider(made)
    return made


class Tracing:
    """Makes the spans of a server.

    Args:
        provider: What makes and exports them.
    """

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("millpond_server", millpond.__version__)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, traced."""
        return Traced(app, self._tracer)

    def close(self, patience: float = LAST_SPANS) -> None:
        """Send what spans are left, if that goes quickly: a collector that is down does not hold up the end."""
        shutdown = getattr(self._provider, "shutdown", None)
        if shutdown is None:
            return
        last = threading.Thread(target=shutdown, name="millpond-traces", daemon=True)
        last.start()
        last.join(patience)


class Traced:
    """Traces each request but those of probes, continuing the trace that its headers name."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve and trace one request."""
        if scope["type"] != "http" or scope["path"] in LIVENESS | METRICS:
            await self._app(scope, receive, send)
            return
        clock = time.time_ns() - int(time.perf_counter() * NANO)  # from the one to the other
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        around = propagate.extract(headers)
        span = self._tracer.start_span(
            _method(scope), context=around, kind=SpanKind.SERVER, attributes=_known_before(scope, headers)
        )
        own = trace.set_span_in_context(span, around)
        answered: list[tuple[int, float]] = []

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.append((message["status"], time.perf_counter()))
            await send(message)

        if span.get_span_context().is_valid:
            scope["millpond.trace"] = trace.format_trace_id(span.get_span_context().trace_id)
        token = context.attach(own)
        try:
            await self._app(scope, receive, sending)
        finally:
            context.detach(token)
            if span.is_recording():
                self._describe(span, scope, answered)
                self._add_stages(own, scope.get("millpond.stats"), answered, clock)
            span.end()

    def _describe(self, span: Span, scope: Scope, answered: Sequence[tuple[int, float]]) -> None:
        """What is known of a request once it was served; names as in OpenTelemetry's conventions for HTTP."""
        if (route := scope.get("millpond.route")) is not None:
            span.update_name(f"{_method(scope)} {route}")
            span.set_attribute("http.route", route)
        if answered:
            status, _ = answered[0]
            span.set_attribute("http.response.status_code", status)
            if status >= SERVER_FAULT:
                span.set_attribute("error.type", str(status))
                span.set_status(Status(StatusCode.ERROR))
        told = {name: scope.get(f"millpond.{name}") for name in ("request_id", "model", "reason")}
        stats: CallStats | None = scope.get("millpond.stats")
        if stats is not None and stats.prompts:
            told |= {name: getattr(stats, name) for name in ("prompts", "tokens", "truncated", "duplicates")}
        span.set_attributes({f"millpond.{name}": value for name, value in told.items() if value is not None})

    def _add_stages(
        self, own: context.Context, stats: CallStats | None, answered: Sequence[tuple[int, float]], clock: int
    ) -> None:
        """A span for each stage of the work; the last, encode, is from the results to the head of the answer."""
        stages: list[tuple[str, float, float]] = [] if stats is None else list(stats.stages)
        if stages and answered:
            stages.append(("encode", stages[-1][2], answered[0][1]))
        for name, began, ended in stages:
            stage = self._tracer.start_span(name, context=own, start_time=clock + int(began * NANO))
            stage.end(clock + int(ended * NANO))


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in METHODS else "_OTHER"


def _known_before(scope: Scope, headers: Mapping[str, str]) -> dict[str, str]:
    return {
        "http.request.method": _method(scope),
        "url.path": scope["path"][:SHOWN],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
        "client.address": (scope.get("client") or ("-",))[0],
        "user_agent.original": headers.get("user-agent", "")[:SHOWN],
    }
