"""``millpond config``: the options that the environment and configuration files set, with their origin."""

import json
from difflib import get_close_matches
from typing import Annotated, Any

import typer

from millpond_cli import options
from millpond_command import declare
from millpond_command.cli import USAGE, CommandError, echo, printable
from millpond_command.config_files import FILE_NAME, read_config_files, user_file
from millpond_command.defaults import Default, all_commands, defaults_of
from millpond_command.tables import table

SECRETS = ("--api-key", "--hf-token", "--ssl-keyfile-password")
HIDDEN = "********"
MAX_SHOWN_COMMANDS = 3

app = declare.new_app()

CommandName = Annotated[
    list[str] | None,
    typer.Argument(metavar="COMMAND", help="A command, such as embed or job run.", show_default="all"),
]


@app.callback()
def config() -> None:
    """Show the options that the environment and configuration files set."""


@declare.command(
    app,
    examples=("millpond config show", "millpond config show embed", "millpond config show job run --json"),
    short_help="Show configured options and their origin.",
)
def show(*, command: CommandName = None, as_json: options.AsJson = False) -> None:
    """Show the options that the environment and configuration files set, with the origin of each value.

    Checks all keys of the files. Secrets are hidden.
    """
    files = read_config_files()
    records = _records({path: defaults_of(it, path, files).values() for path, it in all_commands()}, command)
    if as_json:
        echo(json.dumps({"files": [str(file.path) for file in files], "options": records}, indent=2))
    elif records:
        rows = [[it["option"], str(it["value"]), it["origin"], _shown(it["commands"])] for it in records]
        echo(table([["OPTION", "VALUE", "ORIGIN", "COMMANDS"], *rows]))
    else:
        where = ", ".join(str(file.path) for file in files) or f"no {FILE_NAME} here or above, and no {user_file()}"
        echo(printable(f"No option is configured ({where})."))


def _records(defaults: dict[tuple[str, ...], Any], command: list[str] | None) -> list[dict[str, Any]]:
    """Return each configured value with the commands that it applies to.

    Raises:
        CommandError: The command is unknown.
    """
    names = [" ".join(path) for path in defaults]
    if command and " ".join(command) not in names:
        name = " ".join(command)
        close = get_close_matches(name, names, n=1)
        message = f"Unknown command {name!r}. Available: {', '.join(names)}"
        raise CommandError(message, hint=f"did you mean {close[0]!r}?" if close else "", exit_code=USAGE)
    commands: dict[tuple[str, str, str], list[str]] = {}
    for name, values in zip(names, defaults.values(), strict=True):
        for it in values if command is None or name == " ".join(command) else ():
            commands.setdefault((it.option, json.dumps(_public(it)), it.origin), []).append(name)
    return [
        {"option": option, "value": json.loads(value), "origin": origin, "commands": names}
        for (option, value, origin), names in sorted(commands.items())
    ]


def _public(default: Default) -> Any:
    return HIDDEN if default.option in SECRETS else default.value


def _shown(commands: list[str]) -> str:
    rest = len(commands) - MAX_SHOWN_COMMANDS
    return ", ".join(commands[:MAX_SHOWN_COMMANDS]) + (f" and {rest} more" if rest > 0 else "")
