"""Configuration of tracing from the standard environment variables of OpenTelemetry.

OpenTelemetry is imported only if the variables enable tracing.
"""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from millpond_command.extras import install_command

if TYPE_CHECKING:
    from millpond_server.observability.tracing import Tracing

logger = logging.getLogger(__name__)
EXPORTER_VARIABLE = "OTEL_TRACES_EXPORTER"
ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
OTLP_EXPORTERS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}  # by protocol
REQUIRED_MODULE = "opentelemetry.sdk.trace"


def exporters_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the entry point names of the exporters in the environment; empty if tracing is not enabled.

    If only an endpoint is set, the exporter is OTLP.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    value = environment.get(EXPORTER_VARIABLE, "").strip()
    if not value and any(environment.get(name) for name in ENDPOINT_VARIABLES):
        value = "otlp"
    names = [name.strip() for name in value.split(",")]
    protocol = next((environment[name] for name in PROTOCOL_VARIABLES if environment.get(name)), "http/protobuf")
    entry_points = {"otlp": OTLP_EXPORTERS.get(protocol, f"otlp over {protocol}")}
    return tuple(entry_points.get(name, name) for name in names if name not in ("", "none"))


def tracing_of(environment: Mapping[str, str]) -> "Tracing | None":
    """Return the tracing for an environment; None if it is not enabled, or with a warning if it is not installed."""
    exporters = exporters_of(environment)
    if not exporters:
        return None
    try:
        is_installed = find_spec(REQUIRED_MODULE) is not None
    except ImportError:
        is_installed = False
    if not is_installed:
        logger.warning("tracing is enabled, but OpenTelemetry is not installed: %s", install_command("otel"))
        return None
    from millpond_server.observability.tracing import Tracing, provider_of  # noqa: PLC0415  needs opentelemetry

    try:
        return Tracing(provider_of(exporters, environment))
    except ValueError as error:
        logger.warning("tracing is disabled: %s", error)
        return None
