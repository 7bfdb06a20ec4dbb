"""Whether requests are traced: what the standard variables of OpenTelemetry say, and what of it is installed.

Imports nothing of OpenTelemetry unless they ask for it.
"""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from millpond.types.extras import install_command

if TYPE_CHECKING:
    from millpond_server.observability.tracing import Tracing

logger = logging.getLogger(__name__)
EXPORTERS = "OTEL_TRACES_EXPORTER"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}  # protocol -> the exporter that speaks it
NEEDED = "opentelemetry.sdk.trace"


def exporters_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The exporters that the environment asks for, by the names of their entry points; none if it asks for none.

    Where it names an endpoint and no exporter, it means OTLP.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    named = environment.get(EXPORTERS, "").strip()
    if not named and any(environment.get(name) for name in ENDPOINTS):
        named = "otlp"
    names = [name.strip() for name in named.split(",")]
    protocol = next((environment[name] for name in PROTOCOLS if environment.get(name)), "http/protobuf")
    spoken = {"otlp": OTLP.get(protocol, f"otlp over {protocol}")}
    return tuple(spoken.get(name, name) for name in names if name not in ("", "none"))


def tracing_of(environment: Mapping[str, str]) -> "Tracing | None":
    """What traces requests; None if nobody asks for it, or what it needs is not installed, which is told."""
    names = exporters_of(environment)
    if not names:
        return None
    try:
        installed = find_spec(NEEDED) is not None
    except ImportError:
        installed = False
    if not installed:
        logger.warning("no traces, though the environment asks for them: %s", install_command("otel"))
        return None
    from millpond_server.observability.tracing import Tracing, provider_of  # noqa: PLC0415  needs opentelemetry

    try:
        return Tracing(provider_of(names, environment))
    except ValueError as error:
        logger.warning("no traces: %s", error)
        return None
