"""``millpond cache``: the status of the cache in a folder, and its removal."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from millpond.types.errors import InvalidInputError
from millpond_cache.maintenance import clear as clear_cache
from millpond_cache.maintenance import read_status
from millpond_command import declare
from millpond_command.cli import USAGE, CommandError, echo

app = declare.new_app()


@app.callback()
def cache() -> None:
    """Show and clear caches of results."""


Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="The folder of --cache.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@declare.command(
    app,
    examples=("millpond cache status ~/.cache/millpond", "millpond cache status ~/.cache/millpond --json"),
    short_help="Show the models and the size of a cache.",
)
def status(*, folder: Folder, as_json: AsJson = False) -> None:
    """Show the models that have entries in the cache of a folder, and its size."""
    try:
        state = read_status(folder)
    except InvalidInputError as error:
        raise CommandError(str(error), exit_code=USAGE) from error
    if as_json:
        echo(json.dumps(asdict(state), indent=2))
        return
    echo(f"{state.path}: {state.bytes / 1e6:,.1f} MB")
    for model in state.models:
        echo(f"  {model.model} ({model.fingerprint[:8]}): {model.entries:,} entries, {model.bytes / 1e6:,.1f} MB")


@declare.command(app, examples=("millpond cache clear ~/.cache/millpond",), short_help="Remove a cache.")
def clear(*, folder: Folder) -> None:
    """Remove the cache of a folder. Processes that use it continue with an empty one."""
    try:
        clear_cache(folder)
    except InvalidInputError as error:
        raise CommandError(str(error), exit_code=USAGE) from error
