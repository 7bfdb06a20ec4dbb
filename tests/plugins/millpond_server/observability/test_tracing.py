"""OpenTelemetry traces: spans of requests and their stages, only if the environment enables them."""

import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from millpond_server.observability.tracing import Tracing
from millpond_server.observability.tracing_config import exporters_of, tracing_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STAGES = ["tokenise", "queue", "compute", "finish", "encode"]
PATIENCE = 10  # seconds
SECRET = "an unmistakable zebra"


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def traced(local, spans):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    server = local(tracing=Tracing(provider))
    yield server
    server.state.tracing.close()


def embed(client, text="a boat", **more):
    return client.post("/v1/embeddings", json={"input": text}, **more)


def of_requests(spans, count):
    """Return the spans of N requests. They end after their responses are sent, so wait for them."""
    end = time.monotonic() + PATIENCE
    server_spans = []
    while len(server_spans) < count and time.monotonic() < end:
        server_spans = [span for span in spans.get_finished_spans() if span.kind is SpanKind.SERVER]
        time.sleep(0.01)
    assert len(server_spans) == count
    return server_spans


def test_a_request_continues_the_trace_of_its_client_with_a_span_per_stage(traced, spans):
    with traced.client(headers={"traceparent": PARENT, "x-request-id": "it", "user-agent": "tests"}) as client:
        assert embed(client, [SECRET, "the sea", SECRET]).status_code == 200
    (whole,) = of_requests(spans, 1)
    spans_by_name = {span.name: span for span in spans.get_finished_spans()}
    assert whole.name == "POST /v1/embeddings"
    assert whole.kind is SpanKind.SERVER
    assert f"{whole.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{whole.parent.span_id:016x}" == PARENT.split("-")[2]
    attributes = dict(whole.attributes)
    assert attributes.pop("millpond.tokens") > 4
    assert attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/embeddings",
        "url.path": "/v1/embeddings",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "user_agent.original": "tests",
        "millpond.request_id": "it",
        "millpond.model": "tiny",
        "millpond.prompts": 3,
        "millpond.truncated": 0,
        "millpond.duplicates": 1,
    }
    assert whole.status.status_code is StatusCode.UNSET
    assert set(spans_by_name) == {"POST /v1/embeddings", *STAGES}
    ends = whole.start_time
    for name in STAGES:
        stage = spans_by_name[name]
        assert stage.parent.span_id == whole.context.span_id
        assert ends - 1_000_000 <= stage.start_time <= stage.end_time <= whole.end_time + 1_000_000
        ends = stage.end_time
    assert not any("zebra" in span.to_json() for span in spans.get_finished_spans())


def test_without_a_trace_of_its_client_each_request_has_its_own(traced, spans):
    with traced.client() as client:
        embed(client)
        embed(client, headers={"traceparent": "nonsense"})
    whole = of_requests(spans, 2)
    assert len({span.context.trace_id for span in whole}) == 2
    assert [span.parent for span in whole] == [None, None]


def test_only_server_errors_are_errors_in_spans(traced, spans, watch):
    def forward(_):
        raise RuntimeError("of the model")

    with traced.client() as client:
        assert client.post("/v1/embeddings", json={"input": 5}).status_code == 400
        assert client.get("/nowhere").status_code == 404
        watch(forward)
        assert embed(client).status_code == 500
    refused, unknown, failed = of_requests(spans, 3)
    assert refused.attributes["http.response.status_code"] == 400
    assert refused.attributes["millpond.reason"] == "invalid"
    assert refused.status.status_code is StatusCode.UNSET
    assert (unknown.name, "http.route" in unknown.attributes) == ("GET", False)
    assert (failed.attributes["error.type"], failed.status.status_code) == ("500", StatusCode.ERROR)
    assert "of the model" not in failed.to_json()


def test_probes_are_not_traced_and_the_log_names_traces(traced, spans, monkeypatch):
    lines = []
    monkeypatch.setattr(traced.state.log, "write", lines.append)
    monkeypatch.setattr(traced.state.log, "is_on", True)
    with traced.client() as client:
        for path in ("/live", "/health", "/ready", "/ping", "/metrics"):
            assert client.get(path).status_code == 200
        assert spans.get_finished_spans() == ()
        embed(client, headers={"traceparent": PARENT})
        of_requests(spans, 1)
    assert [line.get("trace") for line in lines] == [None] * 5 + [PARENT.split("-")[1]]


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ()),
        ({"OTEL_SERVICE_NAME": "x"}, ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, ("otlp_proto_http",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, ("otlp_proto_http",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "True"}, ()),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ("otlp_proto_http", "console")),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ("otlp_proto_grpc",)),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, ("otlp over http/json",)),
    ],
)
def test_standard_environment_variables_select_exporters(environment, names):
    assert exporters_of(environment) == names


def test_missing_opentelemetry_is_logged_and_the_server_starts(monkeypatch, caplog):
    assert tracing_of({"OTEL_TRACES_EXPORTER": "zipkin"}) is None
    assert "the exporter 'zipkin' is not installed. Available: console, otlp_proto_http" in caplog.text
    monkeypatch.setattr("millpond_server.observability.tracing_config.find_spec", lambda _: None)
    assert tracing_of({"OTEL_TRACES_EXPORTER": "console"}) is None
    assert "tracing is enabled, but OpenTelemetry is not installed: pip install" in caplog.text


LIGHT = """
import sys
import millpond_server.runtime.server, millpond_server.http.middleware, millpond_server.http.endpoint
from millpond_server.observability.tracing_config import tracing_of
assert tracing_of({}) is None
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


@pytest.mark.slow
def test_opentelemetry_is_imported_only_on_request():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


@pytest.fixture
def collector():
    """A receiver of OTLP over HTTP: its address, and the received spans."""
    came = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            came.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", came
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_spans_reach_a_collector_the_last_ones_when_the_server_ends(folder, serving, collector):
    address, came = collector
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test"}
    with serving(folder, env=environment) as running, running.client(headers={"traceparent": PARENT}) as client:
        assert embed(client, SECRET).status_code == 200
    assert running.process.returncode == 0
    assert {path for path, _ in came} == {"/v1/traces"}
    assert not any(b"zebra" in body for _, body in came)
    (group,) = ExportTraceServiceRequest.FromString(came[0][1]).resource_spans
    resource = {one.key: one.value.string_value for one in group.resource.attributes}
    assert (resource["service.name"], resource["deployment.environment"]) == ("millpond", "test")
    spans_by_name = {span.name: span for scope in group.scope_spans for span in scope.spans}
    assert set(spans_by_name) == {"POST /v1/embeddings", *STAGES}
    assert spans_by_name["POST /v1/embeddings"].parent_span_id.hex() == PARENT.split("-")[2]
    assert {span.trace_id.hex() for span in spans_by_name.values()} == {PARENT.split("-")[1]}


@pytest.mark.slow
def test_an_unreachable_collector_delays_neither_answers_nor_shutdown(folder, serving):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SERVICE_NAME": "mine"}
    with serving(folder, env=environment) as running:
        with running.client() as client:
            assert embed(client).status_code == 200
        running.process.terminate()
        assert running.process.wait(20) == 0
