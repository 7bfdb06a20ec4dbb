"""The options of ``millpond serve``: those of a model bear vLLM's names and are arguments of ``AsyncLLM``."""

from dataclasses import dataclass
from typing import Annotated

from millpond_command.declare import option
from millpond_command.model_options import ServeOptions


@dataclass(frozen=True, kw_only=True)
class ModelOptions(ServeOptions):
    """The options of the models, which are arguments of ``AsyncLLM``, and two that only vLLM's command lines have."""

    task: Annotated[
        str | None,
        option("Model", "--task", metavar="TASK", help="The old spelling of --convert: embed, score ..."),
    ] = None
    attention_backend: Annotated[
        str | None,
        option("Computing", "--attention-backend", metavar="NAME", help="The same as --kernel attention=NAME."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class AddressOptions:
    """Where the server listens, and what it calls the models."""

    served_model_name: Annotated[
        list[str] | None,
        option(
            "Server",
            "--served-model-name",
            metavar="NAME",
            help="What requests call the model; several names for one model, or one for each of several.",
        ),
    ] = None
    host: Annotated[
        str, option("Server", "--host", metavar="ADDRESS", help="The address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1"
    port: Annotated[int, option("Server", "--port", metavar="PORT", help="The port; 0 for any that is free.")] = 8000
    uds: Annotated[str | None, option("Server", "--uds", metavar="FILE", help="A Unix socket instead of both.")] = None
    ssl_certfile: Annotated[
        str | None,
        option("Server", "--ssl-certfile", metavar="FILE", help="Speak HTTPS, with the certificate in this PEM file."),
    ] = None
    ssl_keyfile: Annotated[
        str | None,
        option("Server", "--ssl-keyfile", metavar="FILE", help="Its private key, where it is not in the same file."),
    ] = None
    ssl_keyfile_password: Annotated[
        str | None,
        option("Server", "--ssl-keyfile-password", metavar="PASSWORD", help="What opens the key, if it is encrypted."),
    ] = None
    ssl_ca_certs: Annotated[
        str | None,
        option("Server", "--ssl-ca-certs", metavar="FILE", help="Who signs the certificates of clients, in PEM."),
    ] = None
    ssl_cert_reqs: Annotated[
        int,
        option(
            "Server",
            "--ssl-cert-reqs",
            metavar="N",
            help="Whether clients must show a certificate: 0 no, 1 they may, 2 they must.",
        ),
    ] = 0
    metrics_port: Annotated[
        int | None,
        option(
            "Server",
            "--metrics-port",
            metavar="PORT",
            help="Serve /metrics on this port alone, without key or TLS, with /health and its like.",
        ),
    ] = None
    metrics_host: Annotated[
        str | None,
        option("Server", "--metrics-host", metavar="ADDRESS", help="The address of that port; --host if unset."),
    ] = None
    root_path: Annotated[
        str, option("Server", "--root-path", metavar="PATH", help="The path that a proxy serves it below.")
    ] = ""
    routes: Annotated[
        list[str] | None,
        option("Server", "--routes", metavar="PLUGIN", help="Mount the routes of an installed plugin. Repeatable."),
    ] = None
    log_format: Annotated[
        str, option("Server", "--log-format", metavar="FORMAT", help="One line a request on stderr: text, json or off.")
    ] = "text"
    engine_restart: Annotated[
        bool,
        option(
            "Server", "--engine-restart", help="Deprecated, without effect: a crashed engine ends the process with 70."
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class AccessOptions:
    """Who may use the server."""

    api_key: Annotated[
        list[str] | None,
        option("Access", "--api-key", metavar="KEY", help="A key that requests must bear. Repeatable."),
    ] = None
    api_key_file: Annotated[
        str | None,
        option("Access", "--api-key-file", metavar="FILE", help="A file with a key a line, read anew when it changes."),
    ] = None
    public_models: Annotated[
        bool, option("Access", "--public-models", help="Let the list of models be read without a key.")
    ] = False
    public_metrics: Annotated[
        bool, option("Access", "--public-metrics", help="Let /metrics be read without a key.")
    ] = False
    reject_token_ids: Annotated[
        bool, option("Access", "--reject-token-ids", help="Take texts alone: clients' own token ids are often wrong.")
    ] = False
    trust_request_chat_template: Annotated[
        bool,
        option(
            "Access",
            "--trust-request-chat-template",
            help="Render chat templates sent by requests, within limits of time and memory.",
        ),
    ] = False
    allowed_host: Annotated[
        list[str] | None,
        option(
            "Access",
            "--allowed-host",
            metavar="NAME",
            help="A name that clients call the server by; *.NAME for all below it. Repeatable.",
        ),
    ] = None
    cors_origin: Annotated[
        list[str] | None,
        option("Access", "--cors-origin", metavar="ORIGIN", help="A site whose pages may call the server. Repeatable."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """What a request may ask for, and how much may wait; what is None has the default of ``Limits``."""

    max_body_bytes: Annotated[
        int | None, option("Limits", "--max-body-bytes", metavar="N", help="The largest body; 32 MiB if unset.")
    ] = None
    max_inputs: Annotated[
        int | None, option("Limits", "--max-inputs", metavar="N", help="The most texts of a request; 2048 if unset.")
    ] = None
    max_tokens: Annotated[
        int | None,
        option("Limits", "--max-tokens", metavar="N", help="The most tokens of a request; 300000 if unset."),
    ] = None
    max_documents: Annotated[
        int | None,
        option("Limits", "--max-documents", metavar="N", help="The most documents to rank; 1024 if unset."),
    ] = None
    max_images: Annotated[
        int | None,
        option("Limits", "--max-images", metavar="N", help="The most images of a request; 8 if unset."),
    ] = None
    max_queue_wait: Annotated[
        float | None,
        option("Limits", "--max-queue-wait", metavar="SECONDS", help="Refuse who would wait longer; 10 if unset."),
    ] = None
    max_connections: Annotated[
        int | None,
        option("Limits", "--max-connections", metavar="N", help="The most open connections; 1024 if unset."),
    ] = None
    overload_status: Annotated[
        int, option("Limits", "--overload-status", metavar="STATUS", help="The answer to who is refused: 503 or 429.")
    ] = 503
    request_timeout: Annotated[
        float | None,
        option("Limits", "--request-timeout", metavar="SECONDS", help="The longest a request may take; none if unset."),
    ] = None
    hang_timeout: Annotated[
        float | None,
        option(
            "Limits",
            "--hang-timeout",
            metavar="SECONDS",
            help="Give up a batch that makes no progress for so long; 10 if unset, never below 20 times what is usual.",
        ),
    ] = None
    quarantine: Annotated[
        float | None,
        option(
            "Limits",
            "--quarantine",
            metavar="SECONDS",
            help="How long an input is not tried again that the model has failed on; 60 if unset, 0 for not at all.",
        ),
    ] = None
    drain_delay: Annotated[
        float | None,
        option(
            "Limits",
            "--drain-delay",
            metavar="SECONDS",
            help="How long requests are still taken after SIGTERM, while /ready says 503; 0 if unset.",
        ),
    ] = None
    drain_timeout: Annotated[
        float | None,
        option(
            "Limits",
            "--drain-timeout",
            metavar="SECONDS",
            help="How long what runs may take from then on; 30 if unset.",
        ),
    ] = None
