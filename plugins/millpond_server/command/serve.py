"""``millpond serve``: loads models and serves them over HTTP until it receives a signal."""

import contextlib
import os
from typing import Annotated

import typer

from millpond_command import declare
from millpond_command.cli import USAGE, CommandError, echo, echo_stderr
from millpond_command.cluster_options import ClusterOptions, chosen_cluster
from millpond_command.extras import check_extra
from millpond_command.model_arguments import arguments_of, check_folder
from millpond_server.command.options import LimitOptions, ModelOptions, ServerOptions
from millpond_server.command.settings import REQUIRED_MODULES, names_of, settings_of, values_of
from millpond_server.command.vllm_options import VllmCompatibleCommand

EXAMPLES = (
    "millpond serve BAAI/bge-small-en-v1.5",
    "millpond serve ./embedder ./reranker --served-model-name embedder reranker --port 8001",
    "millpond serve MODEL --host 0.0.0.0 --api-key-file keys.txt --log-format json",
    "millpond serve MODEL --pooler-config.pooling_type CLS --pooler-config.dimensions 256",
    "millpond serve MODEL --ray auto --workers 4 --worker-gpus 1",
)
app = declare.new_app()


@declare.command(app, examples=EXAMPLES, kind=VllmCompatibleCommand)
def serve(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Folders, hub ids, scheme:name, or model files (.toml).")
    ],
    server: ServerOptions,
    model: ModelOptions,
    limits: LimitOptions,
    cluster_options: ClusterOptions,
) -> None:
    """Serve models over HTTP with the APIs of OpenAI, Cohere, Jina, vLLM and text-embeddings-inference.

    vLLM's options are accepted; those without effect here are listed in a note. JSON objects can be passed part by
    part, as in the last example. On SIGTERM, the server finishes running requests and exits. The access log goes to
    stderr, one line per request.
    """
    names = names_of(models, server.served_model_name or ())
    arguments = arguments_of(model)
    check_extra("millpond serve", "serve", REQUIRED_MODULES)
    settings = settings_of(server, limits)
    cluster = chosen_cluster(cluster_options)
    if cluster is not None:
        from millpond_server.command.on_cluster import serve_on_cluster  # noqa: PLC0415

        serve_on_cluster(cluster, dict(zip(models, names, strict=True)), arguments, values_of(server, limits))
        return

    for path in models:  # on a cluster, a folder may exist on its machines only
        check_folder(path)

    from millpond import AsyncLLM  # noqa: PLC0415  imports torch, which --help does not need
    from millpond_server.command.overview import overview  # noqa: PLC0415
    from millpond_server.http.keys import ApiKeys  # noqa: PLC0415
    from millpond_server.observability.tracing_config import tracing_of  # noqa: PLC0415
    from millpond_server.runtime.models import Models, ServedModel  # noqa: PLC0415
    from millpond_server.runtime.server import build_server  # noqa: PLC0415
    from millpond_server.runtime.sockets import bind  # noqa: PLC0415

    try:
        # Checked before the models are loaded, so that an invalid key file or an address in use is reported at once.
        ApiKeys(settings.api_keys, settings.api_key_file)
        sockets = bind(settings)
        served = Models(
            [
                ServedModel(names=model_names, llm=AsyncLLM(path, **arguments))
                for model_names, path in zip(names, models, strict=True)
            ]
        )
        http_server = build_server(settings, served, tracing=tracing_of(os.environ))
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise CommandError(str(error), exit_code=USAGE) from error

    def print_overview() -> None:
        has_playground = "/playground" in http_server.application.access.public
        echo_stderr(overview(served, settings, sockets.url, sockets.metrics_url, has_playground=has_playground))
        with contextlib.suppress(OSError):  # a full disk or a closed pipe must not stop the server
            echo(f"Millpond listens on {sockets.url}")

    if exit_code := http_server.run(sockets, print_overview):
        raise typer.Exit(exit_code)
