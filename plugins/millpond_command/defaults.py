"""Defaults of options from the environment and from configuration files.

The keys are the options that commands declare: they are not declared again here.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import typer
from typer.main import get_command

from millpond.plugin.manager import get_plugin_manager
from millpond.types.errors import MillpondError
from millpond.types.model_args import DEFAULTS
from millpond_command.cli import USAGE, CommandError
from millpond_command.config_files import ConfigFile, user_file
from millpond_command.kinds import CommandSpec

PREFIX: Final = "MILLPOND_"
HANDLED_BY_COMMANDS: Final = frozenset({"MILLPOND_API_KEY", "MILLPOND_SSL_KEYFILE_PASSWORD"})
"""Variables with secrets that ``millpond serve`` reads itself."""
KUBERNETES_ADDRESS: Final = "tcp://"
"""The beginning of the variable for ``--port`` that Kubernetes sets if a service has the name ``millpond``."""
CAN_RUN_CODE: Final = frozenset({"allow-pickle", "ray", "trust-remote-code"})
"""Options that the file of a project must not set, because a downloaded folder can contain one."""
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
KEYS_HINT: Final = "keys are names of options without dashes, or tables with the name of a command"


@dataclass(frozen=True)
class Default:
    """A value that replaces the default of an option.

    Attributes:
        option: The option, such as ``--device``.
        value: The value.
        origin: The environment variable, or the path of the file.
    """

    option: str
    value: Any
    origin: str


def option_names(command: Any) -> dict[str, Any]:
    """Return the options of a command that can be configured, by each of their names without dashes."""
    shown = (it for it in command.params if it.param_type_name == "option" and not it.hidden and it.name != "help")
    return {name.removeprefix("--"): it for it in shown for name in it.opts if name.startswith("--")}


def all_commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield all commands with their names, such as ``("job", "run")``; those that cannot be loaded are left out."""
    for entry in get_plugin_manager().registry[CommandSpec].entries():
        with suppress(MillpondError, RuntimeError):  # RuntimeError: a typer.Typer without a command
            app = entry.load()
            command: Any = get_command(app) if isinstance(app, typer.Typer) else None
            subcommands = getattr(command, "commands", {})
            yield from (((entry.spec.name, name), subcommand) for name, subcommand in subcommands.items())
            if command is not None and not subcommands:
                yield (entry.spec.name,), command


def defaults_of(command: Any, path: Sequence[str], files: Sequence[ConfigFile]) -> dict[str, Default]:
    """Return the defaults of a command's options, by the names of its parameters.

    Args:
        command: The command.
        path: Its name, such as ``("job", "run")``.
        files: The configuration files; earlier ones have precedence.

    Raises:
        CommandError: A key is unknown, or a value has the wrong type.
    """
    options = option_names(command)
    defaults: dict[str, Default] = {}
    for file in reversed(files):
        for depth, table in enumerate(_tables(file, path)):
            for key, value in table.items():
                option = options.get(_name(key))
                if option is not None:
                    if file.of_project and _name(key) in CAN_RUN_CODE:
                        raise _untrusted(key, file)
                    defaults[option.name] = Default(option.opts[0], _checked(option, value, key, file), str(file.path))
                elif depth == len(path) or not _is_known(key, value, path[:depth]):
                    section = ".".join(path[:depth])
                    raise _unknown_key(f"[{section}] {key}" if section else key, key, file, options)
    return defaults | _from_environment(options)


def _tables(file: ConfigFile, path: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the tables of a file that apply to a command: the file itself, ``[job]`` and ``[job.run]``."""
    table: Any = file.values
    yield table
    for name in path:
        table = table.get(name)
        if not isinstance(table, Mapping):
            return
        yield table


def _is_known(key: str, value: object, group: Sequence[str]) -> bool:
    """Return True if a key that is not an option of this command is an option of another one, or its table."""
    if _name(key).replace("-", "_") in DEFAULTS:
        return True
    if isinstance(value, Mapping) and not group and key in get_plugin_manager().registry[CommandSpec].names():
        return True
    commands = [(path, command) for path, command in all_commands() if list(path[: len(group)]) == list(group)]
    if isinstance(value, Mapping) and group and any(key == path[len(group)] for path, _ in commands):
        return True
    return any(_name(key) in option_names(command) for _, command in commands)


def _unknown_key(shown: str, key: str, file: ConfigFile, names: Collection[str]) -> CommandError:
    commands = get_plugin_manager().registry[CommandSpec].names()
    close = get_close_matches(_name(key), [*names, *commands], n=1)
    advice = f"Did you mean {close[0]!r}?" if close else "No command has an option of that name."
    return CommandError(f"{file.path}: Unknown key {shown!r}. {advice}", hint=KEYS_HINT, exit_code=USAGE)


def _untrusted(key: str, file: ConfigFile) -> CommandError:
    message = f"{file.path}: {key!r} cannot be set in the file of a project, because it could run code from the project"
    hint = f"pass --{_name(key)} on the command line, or set it in {user_file()}"
    return CommandError(message, hint=hint, exit_code=USAGE)


def _name(key: str) -> str:
    return key.replace("_", "-")


def _checked(option: Any, value: Any, key: str, file: ConfigFile) -> Any:
    """Return the value of a key in the form in which an option takes it; typer converts and validates it later.

    Raises:
        CommandError: It has the wrong type.
    """
    if option.metavar == "JSON" and isinstance(value, Mapping):
        return json.dumps(value)
    if option.is_flag and isinstance(value, bool):
        return value
    if option.multiple and isinstance(value, list) and all(map(_is_scalar, value)):
        return [str(item) for item in value]
    if not option.is_flag and _is_scalar(value):
        return [str(value)] if option.multiple else str(value)
    expected = "true or false" if option.is_flag else "a list of texts" if option.multiple else "a text or a number"
    message = f"{file.path}: {key} = {json.dumps(value, default=str, ensure_ascii=False)}: expected {expected}"
    raise CommandError(message, exit_code=USAGE)


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _from_environment(options: Mapping[str, Any]) -> dict[str, Default]:
    """Return the defaults that environment variables state, by the names of parameters."""
    defaults: dict[str, Default] = {}
    for name, option in options.items():
        variable = PREFIX + name.replace("-", "_").upper()
        text = os.environ.get(variable, "")
        if text and variable not in HANDLED_BY_COMMANDS and not text.startswith(KUBERNETES_ADDRESS):
            defaults[option.name] = Default(option.opts[0], _parsed(option, text, variable), variable)
    return defaults


def _parsed(option: Any, text: str, variable: str) -> Any:
    """Return the value of a variable.

    Raises:
        CommandError: The option is a flag, and the value is neither true nor false.
    """
    if option.multiple:
        return _listed(text)
    if not option.is_flag:
        return text
    if text.lower() not in (*TRUE, *FALSE):
        message = f"{variable}={text!r}: expected true or false"
        raise CommandError(message, exit_code=USAGE)
    return text.lower() in TRUE


def _listed(text: str) -> list[str]:
    """Return the values of a variable for a repeatable option: one value, or a JSON list."""
    with suppress(ValueError):
        values: Any = json.loads(text) if text.startswith("[") else None
        if isinstance(values, list):
            return [str(value) for value in values]
    return [text]
