"""Settings of a server: addresses, keys and limits, with the command-line option of each.

The help of `millpond serve` is built from this module, so it must not import pydantic, which takes long to import.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from millpond_command.declare import option

KIBIBYTE, MEBIBYTE, GIBIBYTE = 2**10, 2**20, 2**30
# The headings of options in the help of `millpond serve`.
SERVER, ACCESS, LIMITS, BATCHES = "Server", "Access", "Limits", "Batches"
HOST_NAME_PATTERN = r"^(\*|(\*\.)?[A-Za-z0-9_-][A-Za-z0-9._-]*)$"
ROOT_PATH_PATTERN = r"^(/[^/?#\s]+)*$"
VALIDATION_CONFIG = {"extra": "forbid", "revalidate_instances": "always"}


class Constraint:
    """A constraint of a field, which pydantic validates: `ge`, `gt`, `le`, `min_length` or `pattern`."""

    def __init__(self, **bounds: object) -> None:
        self._bounds = bounds

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Return the schema of the field's type with the constraint."""
        return {**handler(source), **self._bounds}


Text = Annotated[str, Constraint(min_length=1)]  # an empty host would be all interfaces, an empty path this folder
Count = Annotated[int, Constraint(ge=1)]
Port = Annotated[int, Constraint(ge=0, le=65535)]
Seconds = Annotated[float, Constraint(ge=0)]
PositiveSeconds = Annotated[float, Constraint(gt=0)]
Days = Annotated[float, Constraint(gt=0, le=36_500)]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on requests, connections and waiting. The attributes listed here have no command-line option.

    Attributes:
        header_bytes: Maximum size of a request's head, its request line and headers.
        headers: Maximum number of headers of a request.
        header_seconds: Maximum time for a head to arrive, from its first byte.
        body_seconds: Maximum time for a body to arrive.
        unread_seconds: Maximum time that a client may read nothing of its response.
        idle_seconds: Maximum time that a connection may stay open between requests.
        template_seconds: Maximum CPU time of the chat templates that a request contains; 0 refuses them.
    """

    __pydantic_config__: ClassVar[Mapping[str, str]] = VALIDATION_CONFIG

    body_bytes: Annotated[
        Count,
        option(LIMITS, "--max-body-bytes", metavar="N", help="Maximum size of a request body in bytes."),
    ] = 32 * MEBIBYTE
    inputs: Annotated[
        Count, option(LIMITS, "--max-inputs", metavar="N", help="Maximum number of inputs in a request.")
    ] = 2048
    tokens: Annotated[
        Count, option(LIMITS, "--max-tokens", metavar="N", help="Maximum number of tokens in a request.")
    ] = 300_000
    documents: Annotated[
        Count,
        option(LIMITS, "--max-documents", metavar="N", help="Maximum number of documents in a rerank request."),
    ] = 1024
    images: Annotated[
        Count, option(LIMITS, "--max-images", metavar="N", help="Maximum number of images in a request.")
    ] = 8
    queue_wait: Annotated[
        PositiveSeconds,
        option(
            LIMITS,
            "--max-queue-wait",
            metavar="SECONDS",
            help="Refuse requests whose predicted wait is longer than this.",
        ),
    ] = 10.0
    header_bytes: Count = 32 * KIBIBYTE
    headers: Count = 100
    header_seconds: PositiveSeconds = 5.0
    body_seconds: PositiveSeconds = 30.0
    unread_seconds: PositiveSeconds = 30.0
    idle_seconds: Count = 65
    unread_bytes: Annotated[
        Count,
        option(
            LIMITS,
            "--max-unread-bytes",
            metavar="N",
            help="Maximum memory of responses that clients have not read; the slowest clients are disconnected.",
        ),
    ] = 128 * MEBIBYTE
    connections: Annotated[
        Count,
        option(LIMITS, "--max-connections", metavar="N", help="Maximum number of open connections."),
    ] = 1024
    drain_delay: Annotated[
        Seconds,
        option(
            LIMITS,
            "--drain-delay",
            metavar="SECONDS",
            help="Time after SIGTERM in which new requests are still accepted, while /ready returns 503.",
        ),
    ] = 0.0
    drain_seconds: Annotated[
        Seconds,
        option(
            LIMITS,
            "--drain-timeout",
            metavar="SECONDS",
            help="Maximum time to finish running requests after that; then they are cancelled.",
        ),
    ] = 30.0
    template_seconds: Seconds = 0.0
    request_seconds: Annotated[
        PositiveSeconds | None,
        option(
            LIMITS,
            "--request-timeout",
            metavar="SECONDS",
            help="Maximum time of a request without the header x-request-timeout-ms (default: no limit).",
        ),
    ] = None
    hang_seconds: Annotated[
        PositiveSeconds,
        option(
            LIMITS,
            "--hang-timeout",
            metavar="SECONDS",
            help="Fail a batch that makes no progress for this long, and for 20 times its expected duration.",
        ),
    ] = 10.0
    quarantine_seconds: Annotated[
        Seconds,
        option(
            LIMITS,
            "--quarantine",
            metavar="SECONDS",
            help="Time for which an input that made the model fail is refused; 0 to try it again at once.",
        ),
    ] = 60.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a server."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = VALIDATION_CONFIG

    host: Annotated[
        Text, option(SERVER, "--host", metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all interfaces.")
    ] = "127.0.0.1"
    port: Annotated[
        Port,
        option(SERVER, "--port", metavar="PORT", help="Port to listen on; 0 for a free one."),
    ] = 8000
    uds: Annotated[
        Text | None, option(SERVER, "--uds", metavar="FILE", help="Unix socket to listen on, instead of host and port.")
    ] = None
    ssl_certfile: Annotated[
        Text | None,
        option(SERVER, "--ssl-certfile", metavar="FILE", help="PEM file with the certificate; enables HTTPS."),
    ] = None
    ssl_keyfile: Annotated[
        Text | None,
        option(
            SERVER, "--ssl-keyfile", metavar="FILE", help="PEM file with the private key (default: --ssl-certfile)."
        ),
    ] = None
    ssl_keyfile_password: Annotated[
        str | None,
        option(SERVER, "--ssl-keyfile-password", metavar="PASSWORD", help="Password of an encrypted private key."),
    ] = field(default=None, repr=False)
    ssl_ca_certs: Annotated[
        Text | None,
        option(
            SERVER,
            "--ssl-ca-certs",
            metavar="FILE",
            help="PEM file with the CA certificates that client certificates are verified against.",
        ),
    ] = None
    ssl_cert_reqs: Annotated[
        int,
        Constraint(ge=0, le=2),
        option(
            SERVER,
            "--ssl-cert-reqs",
            metavar="N",
            help="Client certificates: 0 for none, 1 for optional, 2 for required.",
        ),
    ] = 0
    metrics_port: Annotated[
        Port | None,
        option(
            SERVER,
            "--metrics-port",
            metavar="PORT",
            help="Serve /metrics and the health routes on this port, without keys or TLS (default: on --port).",
        ),
    ] = None
    metrics_host: Annotated[
        Text | None,
        option(SERVER, "--metrics-host", metavar="ADDRESS", help="Address for --metrics-port (default: --host)."),
    ] = None
    root_path: Annotated[
        str,
        Constraint(pattern=ROOT_PATH_PATTERN),
        option(SERVER, "--root-path", metavar="PATH", help="Path prefix under which a proxy serves this server."),
    ] = ""
    routes: Annotated[
        tuple[str, ...],
        option(SERVER, "--routes", metavar="PLUGIN", help="Mount the routes of this installed plugin. Repeatable."),
    ] = ()
    disabled_routes: Annotated[
        tuple[str, ...],
        option(
            SERVER,
            "--disable-routes",
            metavar="PLUGIN",
            help="Do not mount the routes of this plugin, such as playground. Repeatable.",
        ),
    ] = ()
    log_format: Annotated[
        Literal["text", "json", "off"],
        option(SERVER, "--log-format", metavar="FORMAT", help="Format of the access log on stderr: text, json or off."),
    ] = "text"
    api_keys: Annotated[
        tuple[Text, ...],
        option(ACCESS, "--api-key", metavar="KEY", help="API key required from clients. Repeatable."),
    ] = field(default=(), repr=False)
    api_key_file: Annotated[
        Text | None,
        option(
            ACCESS,
            "--api-key-file",
            metavar="FILE",
            help="File with one API key per line; it is read again when it changes.",
        ),
    ] = None
    public_models: Annotated[
        bool, option(ACCESS, "--public-models", help="Allow listing the models without a key.")
    ] = False
    public_metrics: Annotated[
        bool, option(ACCESS, "--public-metrics", help="Allow reading /metrics without a key.")
    ] = False
    reject_token_ids: Annotated[
        bool,
        option(
            ACCESS,
            "--reject-token-ids",
            help="Refuse token ids as input: clients often send those of another tokenizer.",
        ),
    ] = False
    cache_shared: Annotated[
        bool,
        option(
            ACCESS,
            "--cache-shared",
            help="Let all API keys share the entries of --cache: response times then reveal the texts of other keys.",
        ),
    ] = False
    allowed_hosts: Annotated[
        tuple[Annotated[str, Constraint(pattern=HOST_NAME_PATTERN)], ...],
        option(
            ACCESS,
            "--allowed-host",
            metavar="NAME",
            help="Host name that requests may use; *.NAME for all its subdomains. Repeatable.",
        ),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        option(
            ACCESS,
            "--cors-origin",
            metavar="ORIGIN",
            help='Origin whose pages may call the server from a browser; "*" for all. Repeatable.',
        ),
    ] = ()
    overload_status: Annotated[
        Literal[503, 429],
        option(
            LIMITS, "--overload-status", metavar="STATUS", help="Status of requests refused for overload: 503 or 429."
        ),
    ] = 503
    batch_dir: Annotated[
        Text | None,
        option(
            BATCHES,
            "--batch-dir",
            metavar="FOLDER",
            help="Enable /v1/files and /v1/batches, and keep their files in this folder.",
        ),
    ] = None
    max_upload_bytes: Annotated[
        Count, option(BATCHES, "--max-upload-bytes", metavar="N", help="Maximum size of an uploaded file in bytes.")
    ] = 200 * MEBIBYTE
    max_files: Annotated[
        Count, option(BATCHES, "--max-files", metavar="N", help="Maximum number of files of an API key.")
    ] = 500
    max_stored_bytes: Annotated[
        Count,
        option(BATCHES, "--max-stored-bytes", metavar="N", help="Maximum size of all files of an API key in bytes."),
    ] = 100 * GIBIBYTE
    max_batches: Annotated[
        Count, option(BATCHES, "--max-batches", metavar="N", help="Maximum number of unfinished batches of an API key.")
    ] = 500
    batch_retention_days: Annotated[
        Days,
        option(
            BATCHES, "--batch-retention-days", metavar="DAYS", help="Delete files and ended batches after this time."
        ),
    ] = 30.0
    limits: Limits = field(default_factory=Limits)


def validated(settings: Settings | Mapping[str, Any]) -> Settings:
    """Return checked settings.

    Args:
        settings: The settings, or their values by name.

    Raises:
        pydantic.ValidationError: If a value is invalid or a name is unknown.
    """
    return _validator()(settings)


@cache
def _validator() -> Callable[[Settings | Mapping[str, Any]], Settings]:
    from pydantic import TypeAdapter  # noqa: PLC0415  see the module's docstring

    return TypeAdapter(Settings).validate_python
