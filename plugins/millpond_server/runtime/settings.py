"""How a server is run: addresses, keys, limits. Knows nothing of models."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

KIBIBYTE, MEBIBYTE = 2**10, 2**20
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class Limits(BaseModel):
    """What one request may ask for, and how much may wait.

    Attributes:
        body_bytes: The largest body.
        inputs: The most texts of a request.
        tokens: The most tokens of a request.
        documents: The most documents of a request that ranks.
        images: The most images of a request.
        queue_wait: The longest wait that is predicted for a request, in seconds, before it is refused.
        header_bytes: The largest head of a request: its line and its headers.
        headers: The most headers of a request.
        header_seconds: How long a head may take to arrive, from its first byte.
        body_seconds: How long a body may take to arrive.
        unread_seconds: How long a client may read nothing of its answer.
        idle_seconds: How long a connection may stay open between requests.
        connections: The most connections at a time.
        drain_delay: How long requests are still taken after the server was told to stop.
        drain_seconds: How long requests that run may take from then on.
        template_seconds: How much CPU time the chat templates of a request's own may take; 0 to refuse them.
        request_seconds: How long a request may take, where its header does not say; None for ever.
        hang_seconds: How long a batch may make no progress, at the least, before it is given up.
        quarantine_seconds: For how long an input is not tried again that the model has failed on; 0 to try it at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_bytes: Count = 32 * MEBIBYTE
    inputs: Count = 2048
    tokens: Count = 300_000
    documents: Count = 1024
    images: Count = 8
    queue_wait: Seconds = 10.0
    header_bytes: Count = 32 * KIBIBYTE
    headers: Count = 100
    header_seconds: Seconds = 5.0
    body_seconds: Seconds = 30.0
    unread_seconds: Seconds = 30.0
    idle_seconds: Annotated[int, Field(ge=1)] = 65
    connections: Count = 1024
    drain_delay: Annotated[float, Field(ge=0)] = 0.0
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0
    template_seconds: Annotated[float, Field(ge=0)] = 0.0
    request_seconds: Seconds | None = None
    hang_seconds: Seconds = 10.0
    quarantine_seconds: Annotated[float, Field(ge=0)] = 60.0


class Settings(BaseModel):
    """How a server is run.

    Attributes:
        host: The address that is listened on.
        port: The port; 0 for any that is free.
        uds: The path of a Unix socket, instead of both.
        ssl_certfile: The file with the certificate; None for no encryption.
        ssl_keyfile: The file with its key; None where the certificate's file holds it.
        ssl_keyfile_password: What opens the key.
        ssl_ca_certs: The file with the certificates of those who sign clients' certificates.
        ssl_cert_reqs: Whether clients must show a certificate: 0 no, 1 they may, 2 they must.
        metrics_port: The port that metrics are served on, and nothing else but liveness; 0 for any that is free, None
            to serve them with the rest.
        metrics_host: The address of that port; None for ``host``.
        root_path: What stands before each path, where a proxy serves it below one.
        api_keys: The keys that may be used; none, here and in the file, for an open server.
        api_key_file: A file with a key a line, which is read anew when it changes.
        public_models: Whether the list of models may be read without a key.
        public_metrics: Whether the metrics may be read without a key.
        reject_token_ids: Whether token ids are refused where texts may be sent.
        allowed_hosts: The names that requests may have in their Host header, beside those of a loopback address where
            that is listened on; none there for any.
        cors_origins: The origins whose pages may call the server from a browser; "*" for all.
        routes: The installed plugins whose routes are mounted.
        overload_status: The status of an answer to what does not fit into the queue.
        log_format: How a line of the access log is written; "off" for none.
        limits: What one request may ask for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    uds: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_keyfile_password: str | None = Field(default=None, repr=False)
    ssl_ca_certs: str | None = None
    ssl_cert_reqs: Annotated[int, Field(ge=0, le=2)] = 0
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    metrics_host: str | None = None
    root_path: Annotated[str, Field(pattern=r"^(/[^/?#\s]+)*$")] = ""
    api_keys: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), repr=False)
    api_key_file: str | None = None
    public_models: bool = False
    public_metrics: bool = False
    reject_token_ids: bool = False
    allowed_hosts: tuple[Annotated[str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9_-][A-Za-z0-9._-]*)$")], ...] = ()
    cors_origins: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    overload_status: Literal[429, 503] = 503
    log_format: Literal["text", "json", "off"] = "text"
    limits: Limits = Limits()
