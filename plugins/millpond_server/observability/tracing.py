"""Tracing: an OpenTelemetry span for each request with child spans for its stages, without input texts."""

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
from millpond_server.http.auth import HEALTH_PATHS, METRICS_PATHS
from millpond_server.observability.metrics import METHODS

EXPORTER_GROUP = "opentelemetry_traces_exporter"
FIRST_ERROR_STATUS = 500
MAX_ATTRIBUTE_CHARS = 200
FLUSH_TIMEOUT_S = 2.0
NANOSECONDS_PER_SECOND = 10**9


def provider_of(exporters: Sequence[str], environment: Mapping[str, str]) -> trace.TracerProvider:
    """Return the tracer provider of the process if one is set, else a new one with exporters.

    Args:
        exporters: The entry point names of the exporters.
        environment: The environment, which may contain the name of the service. OpenTelemetry reads its other
            variables itself.

    Raises:
        ValueError: If an exporter is not installed.
    """
    current = trace.get_tracer_provider()
    if not isinstance(current, trace.ProxyTracerProvider):
        return current
    attributes = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    has_service_name = bool(environment.get("OTEL_SERVICE_NAME")) or f"{SERVICE_NAME}=" in attributes
    service = {"service.version": millpond.__version__}
    resource = Resource.create(service if has_service_name else {**service, SERVICE_NAME: "millpond"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in exporters:
        entries = entry_points(group=EXPORTER_GROUP, name=name)
        if not entries:
            installed = ", ".join(sorted(entry.name for entry in entry_points(group=EXPORTER_GROUP)))
            message = f"the exporter {name!r} is not installed. Available: {installed}"
            raise ValueError(message)
        provider.add_span_processor(BatchSpanProcessor(next(iter(entries)).load()()))
    trace.set_tracer_provider(provider)
    return provider


class Tracing:
    """Creates the spans of a server.

    Args:
        provider: The tracer provider, which exports the spans.
    """

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("millpond_server", millpond.__version__)

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Return the application with tracing."""
        return TracingMiddleware(app, self._tracer)

    def close(self, timeout: float = FLUSH_TIMEOUT_S) -> None:
        """Export the remaining spans, for at most some seconds: an unreachable collector must not delay the exit."""
        shutdown = getattr(self._provider, "shutdown", None)
        if shutdown is None:
            return
        thread = threading.Thread(target=shutdown, name="millpond-traces", daemon=True)
        thread.start()
        thread.join(timeout)


class TracingMiddleware:
    """Traces all requests except health checks and metrics, as part of the trace in their headers."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve and trace one request."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS | METRICS_PATHS:
            await self._app(scope, receive, send)
            return
        # The offset from the performance counter to the time of day.
        clock_offset = time.time_ns() - int(time.perf_counter() * NANOSECONDS_PER_SECOND)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        parent = propagate.extract(headers)
        span = self._tracer.start_span(
            _method(scope), context=parent, kind=SpanKind.SERVER, attributes=_request_attributes(scope, headers)
        )
        span_context = trace.set_span_in_context(span, parent)
        responses: list[tuple[int, float]] = []  # status and time of the response's start; empty before

        async def send_and_note_start(message: Message) -> None:
            if message["type"] == "http.response.start":
                responses.append((message["status"], time.perf_counter()))
            await send(message)

        if span.get_span_context().is_valid:
            scope["millpond.trace"] = trace.format_trace_id(span.get_span_context().trace_id)
        token = context.attach(span_context)
        try:
            await self._app(scope, receive, send_and_note_start)
        finally:
            context.detach(token)
            if span.is_recording():
                self._set_response_attributes(span, scope, responses)
                self._add_stages(span_context, scope.get("millpond.stats"), responses, clock_offset)
            span.end()

    def _set_response_attributes(self, span: Span, scope: Scope, responses: Sequence[tuple[int, float]]) -> None:
        """Set the attributes that are known after a request, named by OpenTelemetry's conventions for HTTP."""
        if (route := scope.get("millpond.route")) is not None:
            span.update_name(f"{_method(scope)} {route}")
            span.set_attribute("http.route", route)
        if responses:
            status, _ = responses[0]
            span.set_attribute("http.response.status_code", status)
            if status >= FIRST_ERROR_STATUS:
                span.set_attribute("error.type", str(status))
                span.set_status(Status(StatusCode.ERROR))
        attributes = {name: scope.get(f"millpond.{name}") for name in ("request_id", "model", "reason")}
        stats: CallStats | None = scope.get("millpond.stats")
        if stats is not None and stats.prompts:
            attributes |= {name: getattr(stats, name) for name in ("prompts", "tokens", "truncated", "duplicates")}
        span.set_attributes({f"millpond.{name}": value for name, value in attributes.items() if value is not None})

    def _add_stages(
        self,
        span_context: context.Context,
        stats: CallStats | None,
        responses: Sequence[tuple[int, float]],
        clock_offset: int,
    ) -> None:
        """Add a child span for each stage; the last one, encode, is from the results to the start of the response."""
        stages: list[tuple[str, float, float]] = [] if stats is None else list(stats.stages)
        if stages and responses:
            stages.append(("encode", stages[-1][2], responses[0][1]))
        for name, start, end in stages:
            start_time = clock_offset + int(start * NANOSECONDS_PER_SECOND)
            stage = self._tracer.start_span(name, context=span_context, start_time=start_time)
            stage.end(clock_offset + int(end * NANOSECONDS_PER_SECOND))


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in METHODS else "_OTHER"


def _request_attributes(scope: Scope, headers: Mapping[str, str]) -> dict[str, str]:
    return {
        "http.request.method": _method(scope),
        "url.path": scope["path"][:MAX_ATTRIBUTE_CHARS],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
        "client.address": (scope.get("client") or ("-",))[0],
        "user_agent.original": headers.get("user-agent", "")[:MAX_ATTRIBUTE_CHARS],
    }
