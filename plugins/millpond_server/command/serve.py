"""``millpond serve``: loads models and serves them over HTTP until it is told to stop."""

import contextlib
import os
from typing import Annotated

import typer

from millpond_command import declare
from millpond_command.cli import USAGE, CommandError, echo, echo_stderr
from millpond_command.model_arguments import arguments_of
from millpond_server.command.options import AccessOptions, AddressOptions, LimitOptions, ModelOptions
from millpond_server.command.settings import check_extra, names_of, settings_of
from millpond_server.command.vllm_options import RespelledCommand

EXAMPLES = (
    "millpond serve BAAI/bge-small-en-v1.5",
    "millpond serve ./embedder ./reranker --served-model-name embedder reranker --port 8001",
    "millpond serve MODEL --host 0.0.0.0 --api-key-file keys.txt --log-format json",
    "millpond serve MODEL --pooler-config.pooling_type CLS --pooler-config.dimensions 256",
)
RESTART_NOTE = (
    "warning: --engine-restart is deprecated and has no effect: when an engine crashes, the process exits with code "
    "70; have systemd, Docker or Kubernetes restart it"
)
app = declare.new_app()


@declare.command(app, examples=EXAMPLES, kind=RespelledCommand)
def serve(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Folders, hub ids, or scheme:name.")],
    address: AddressOptions,
    model: ModelOptions,
    access: AccessOptions,
    limits: LimitOptions,
) -> None:
    """Serve models over HTTP, as OpenAI, Cohere, Jina, vLLM and text-embeddings-inference do.

    The options of vLLM are understood; those that mean nothing here are accepted, and told of. JSON objects may be
    given part by part, as in the last example. SIGTERM ends the server once what runs is finished. One line a request
    goes to stderr.
    """
    names = names_of(models, address.served_model_name or ())
    arguments = arguments_of(model)
    check_extra()
    settings = settings_of(address, access, limits)

    if address.engine_restart:
        echo_stderr(RESTART_NOTE)

    from millpond import AsyncLLM  # noqa: PLC0415  needs torch; --help does not
    from millpond_server.command.overview import overview  # noqa: PLC0415
    from millpond_server.http.keys import Keys  # noqa: PLC0415
    from millpond_server.observability.traces import tracing_of  # noqa: PLC0415
    from millpond_server.runtime.models import Models, ServedModel  # noqa: PLC0415
    from millpond_server.runtime.server import build_server  # noqa: PLC0415
    from millpond_server.runtime.sockets import bind  # noqa: PLC0415

    try:
        # Before the models are loaded: a file without keys and an address in use are reported at once.
        Keys(settings.api_keys, settings.api_key_file)
        sockets = bind(settings)
        table = Models(
            [ServedModel(names=own, llm=AsyncLLM(one, **arguments)) for own, one in zip(names, models, strict=True)]
        )
        server = build_server(settings, table, traces=tracing_of(os.environ))
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise CommandError(str(error), exit_code=USAGE) from error

    def tell() -> None:
        echo_stderr(overview(table, settings, sockets.url, sockets.metrics_url))
        with contextlib.suppress(OSError):  # a full disk, or a closed pipe, is no reason not to serve
            echo(f"Millpond listens on {sockets.url}")

    if exit_code := server.run(sockets, tell):
        raise typer.Exit(exit_code)
