"""Settings of a server: addresses, keys and limits, with the command-line option of each. Independent of models."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from millpond_command.declare import option

KIBIBYTE, MEBIBYTE = 2**10, 2**20
SERVER, ACCESS, LIMITS = "Server", "Access", "Limits"  # the headings of options in the help of `millpond serve`
HOST_NAME = r"^(\*|(\*\.)?[A-Za-z0-9_-][A-Za-z0-9._-]*)$"


class Limits(BaseModel):
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

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_bytes: Annotated[
        int,
        Field(ge=1),
        option(LIMITS, "--max-body-bytes", metavar="N", help="Maximum size of a request body in bytes."),
    ] = 32 * MEBIBYTE
    inputs: Annotated[
        int, Field(ge=1), option(LIMITS, "--max-inputs", metavar="N", help="Maximum number of inputs in a request.")
    ] = 2048
    tokens: Annotated[
        int, Field(ge=1), option(LIMITS, "--max-tokens", metavar="N", help="Maximum number of tokens in a request.")
    ] = 300_000
    documents: Annotated[
        int,
        Field(ge=1),
        option(LIMITS, "--max-documents", metavar="N", help="Maximum number of documents in a rerank request."),
    ] = 1024
    images: Annotated[
        int, Field(ge=1), option(LIMITS, "--max-images", metavar="N", help="Maximum number of images in a request.")
    ] = 8
    queue_wait: Annotated[
        float,
        Field(gt=0),
        option(
            LIMITS,
            "--max-queue-wait",
            metavar="SECONDS",
            help="Refuse requests whose predicted wait is longer than this.",
        ),
    ] = 10.0
    header_bytes: Annotated[int, Field(ge=1)] = 32 * KIBIBYTE
    headers: Annotated[int, Field(ge=1)] = 100
    header_seconds: Annotated[float, Field(gt=0)] = 5.0
    body_seconds: Annotated[float, Field(gt=0)] = 30.0
    unread_seconds: Annotated[float, Field(gt=0)] = 30.0
    idle_seconds: Annotated[int, Field(ge=1)] = 65
    connections: Annotated[
        int,
        Field(ge=1),
        option(LIMITS, "--max-connections", metavar="N", help="Maximum number of open connections."),
    ] = 1024
    drain_delay: Annotated[
        float,
        Field(ge=0),
        option(
            LIMITS,
            "--drain-delay",
            metavar="SECONDS",
            help="Time after SIGTERM in which new requests are still accepted, while /ready returns 503.",
        ),
    ] = 0.0
    drain_seconds: Annotated[
        float,
        Field(ge=0),
        option(
            LIMITS,
            "--drain-timeout",
            metavar="SECONDS",
            help="Time that running requests may take after that before they are cancelled.",
        ),
    ] = 30.0
    template_seconds: Annotated[float, Field(ge=0)] = 0.0
    request_seconds: Annotated[
        float | None,
        Field(gt=0),
        option(
            LIMITS,
            "--request-timeout",
            metavar="SECONDS",
            help="Maximum time of a request without the header x-request-timeout-ms (default: no limit).",
        ),
    ] = None
    hang_seconds: Annotated[
        float,
        Field(gt=0),
        option(
            LIMITS,
            "--hang-timeout",
            metavar="SECONDS",
            help="Fail a batch that makes no progress for this long, and for 20 times its expected duration.",
        ),
    ] = 10.0
    quarantine_seconds: Annotated[
        float,
        Field(ge=0),
        option(
            LIMITS,
            "--quarantine",
            metavar="SECONDS",
            help="Time for which an input that made the model fail is refused; 0 to try it again at once.",
        ),
    ] = 60.0


class Settings(BaseModel):
    """Settings of a server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[
        str, option(SERVER, "--host", metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all interfaces.")
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Field(ge=0, le=65535),
        option(SERVER, "--port", metavar="PORT", help="Port to listen on; 0 for a free one."),
    ] = 8000
    uds: Annotated[
        str | None, option(SERVER, "--uds", metavar="FILE", help="Unix socket to listen on, instead of host and port.")
    ] = None
    ssl_certfile: Annotated[
        str | None,
        option(SERVER, "--ssl-certfile", metavar="FILE", help="PEM file with the certificate; enables HTTPS."),
    ] = None
    ssl_keyfile: Annotated[
        str | None,
        option(
            SERVER, "--ssl-keyfile", metavar="FILE", help="PEM file with the private key (default: --ssl-certfile)."
        ),
    ] = None
    ssl_keyfile_password: Annotated[
        str | None,
        Field(repr=False),
        option(SERVER, "--ssl-keyfile-password", metavar="PASSWORD", help="Password of an encrypted private key."),
    ] = None
    ssl_ca_certs: Annotated[
        str | None,
        option(
            SERVER,
            "--ssl-ca-certs",
            metavar="FILE",
            help="PEM file with the CA certificates that client certificates are verified against.",
        ),
    ] = None
    ssl_cert_reqs: Annotated[
        int,
        Field(ge=0, le=2),
        option(
            SERVER,
            "--ssl-cert-reqs",
            metavar="N",
            help="Client certificates: 0 for none, 1 for optional, 2 for required.",
        ),
    ] = 0
    metrics_port: Annotated[
        int | None,
        Field(ge=0, le=65535),
        option(
            SERVER,
            "--metrics-port",
            metavar="PORT",
            help="Serve /metrics and the health routes on this port, without keys or TLS (default: on --port).",
        ),
    ] = None
    metrics_host: Annotated[
        str | None,
        option(SERVER, "--metrics-host", metavar="ADDRESS", help="Address for --metrics-port (default: --host)."),
    ] = None
    root_path: Annotated[
        str,
        Field(pattern=r"^(/[^/?#\s]+)*$"),
        option(SERVER, "--root-path", metavar="PATH", help="Path prefix under which a proxy serves this server."),
    ] = ""
    routes: Annotated[
        tuple[str, ...],
        option(SERVER, "--routes", metavar="PLUGIN", help="Mount the routes of this installed plugin. Repeatable."),
    ] = ()
    log_format: Annotated[
        Literal["text", "json", "off"],
        option(SERVER, "--log-format", metavar="FORMAT", help="Format of the access log on stderr: text, json or off."),
    ] = "text"
    api_keys: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        Field(repr=False),
        option(ACCESS, "--api-key", metavar="KEY", help="API key required from clients. Repeatable."),
    ] = ()
    api_key_file: Annotated[
        str | None,
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
    allowed_hosts: Annotated[
        tuple[Annotated[str, Field(pattern=HOST_NAME)], ...],
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
    limits: Limits = Limits()
