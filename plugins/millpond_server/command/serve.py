"""``millpond serve``: loads models and serves them over HTTP until it is told to stop."""

import contextlib
import os
from typing import Annotated

import typer

from millpond.plugin.manager import get_plugin_manager
from millpond_command import declare
from millpond_command.cli import USAGE, CommandError, echo, say
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

    from millpond import AsyncLLM  # noqa: PLC0415  needs torch; --help does not
    from millpond_server.command.overview import overview  # noqa: PLC0415
    from millpond_server.http.keys import Keys  # noqa: PLC0415
    from millpond_server.http.middleware import around, around_watched  # noqa: PLC0415
    from millpond_server.http.tls import certificate_of  # noqa: PLC0415
    from millpond_server.http.token_ids import TokenIds  # noqa: PLC0415
    from millpond_server.observability.access_log import AccessLog  # noqa: PLC0415
    from millpond_server.observability.metrics import Metrics  # noqa: PLC0415
    from millpond_server.observability.traces import tracing_of  # noqa: PLC0415
    from millpond_server.runtime.application import build_app, build_watched  # noqa: PLC0415
    from millpond_server.runtime.models import Models, ServedModel  # noqa: PLC0415
    from millpond_server.runtime.server import bind, bind_metrics, run  # noqa: PLC0415
    from millpond_server.runtime.state import State  # noqa: PLC0415

    registry = get_plugin_manager().registry
    try:
        keys = Keys(settings.api_keys, settings.api_key_file)
        certificate = certificate_of(settings)
        listening, url = bind(settings)  # before the models are loaded: that the address is taken is told at once
        for_metrics = bind_metrics(settings)
        table = Models(
            [ServedModel(names=own, llm=AsyncLLM(one, **arguments)) for own, one in zip(names, models, strict=True)]
        )
        state = State(
            models=table,
            metrics=Metrics(table),
            log=AccessLog(settings.log_format),
            token_ids=TokenIds(rejected=settings.reject_token_ids),
            traces=tracing_of(os.environ),
        )
        application = around(build_app(registry, table, settings, state), state, settings, keys)
        watched = around_watched(build_watched(registry, table, settings, state), state, settings)
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise CommandError(str(error), exit_code=USAGE) from error

    def tell() -> None:
        say(overview(table, settings, url, None if for_metrics is None else for_metrics[1]))
        with contextlib.suppress(OSError):  # a full disk, or nobody who reads it, is no reason not to serve
            echo(f"Millpond listens on {url}")

    if exit_code := run(
        application,
        state,
        settings,
        listening,
        tell,
        certificate=certificate,
        aside=None if for_metrics is None else (watched, for_metrics[0]),
    ):
        raise typer.Exit(exit_code)
