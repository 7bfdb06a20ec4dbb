"""``millpond serve``: loads models and serves them over HTTP until it is told to stop."""

from typing import Annotated

import typer

from millpond.cli import USAGE, CommandError
from millpond.plugins import get_plugin_manager

app = typer.Typer(add_completion=False, no_args_is_help=False)


@app.command()
def serve(
    models: Annotated[list[str], typer.Argument(help="The models: folders, hub ids, or scheme:name.")],
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for any that is free.")] = 8000,
    served_model_name: Annotated[
        list[str] | None, typer.Option("--served-model-name", help="What requests call the models, in their order.")
    ] = None,
) -> None:
    """Serve models over HTTP."""
    from millpond import AsyncLLM  # noqa: PLC0415  needs torch; --help does not
    from millpond_server.app import build_app  # noqa: PLC0415
    from millpond_server.models import Models, ServedModel  # noqa: PLC0415
    from millpond_server.run import bind, run  # noqa: PLC0415
    from millpond_server.settings import Settings  # noqa: PLC0415

    settings = Settings(host=host, port=port)
    names = served_model_name or models
    if len(names) != len(models):
        message = f"--served-model-name names {len(names)} models, and {len(models)} are served"
        raise CommandError(message, exit_code=USAGE)
    listening, address = bind(settings)
    served = [ServedModel(names=(name,), llm=AsyncLLM(model)) for name, model in zip(names, models, strict=True)]
    table = Models(served)
    application = build_app(get_plugin_manager().registry, table, settings)
    run(application, table, settings, listening, lambda: typer.echo(f"Millpond listens on {address}"))
