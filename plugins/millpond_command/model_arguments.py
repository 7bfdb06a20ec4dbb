"""The options of a model as arguments of ``LLM``, checked before torch is imported."""

import json
import warnings
from collections.abc import Sequence
from typing import Any, Final

from millpond.types.errors import InvalidInputError
from millpond.types.model_args import FORMER_NAMES, MODEL_ARGS
from millpond_command.cli import USAGE, CommandError, say
from millpond_command.model_options import Files

OBJECTS: Final = tuple(name for name, it in MODEL_ARGS.items() if it.metavar == "JSON")
"""The options that are typed as JSON objects."""
UNSET: Final = (None, ())  # typer's, for an option that may be given several times


def option_of(argument: str) -> str:
    """Return the option for an argument of ``LLM``."""
    return f"--{argument.replace('_', '-')}"


def arguments_of(typed: Files) -> dict[str, Any]:
    """Return the arguments of ``LLM`` that were set: the others have the defaults of ``LLM``.

    Raises:
        CommandError: An option is invalid.
    """
    given = {name: value for name, value in vars(typed).items() if value not in UNSET}
    for old, name in FORMER_NAMES.items():
        if old in given:
            warn_renamed(old)
            given[name] = given.pop(old)
    for name in OBJECTS:
        if name in given:
            given[name] = _object(option_of(name), given[name])
    if "pooler_config" in given:
        _check_pooler_config(given["pooler_config"], vars(typed)["pooler_config"])
    if "kernels" in given:
        given["kernels"] = _kernels(given["kernels"])
    return given


def warn_renamed(argument: str) -> None:
    """Write a warning that an option was given by the former name of its argument."""
    say(f"warning: {option_of(argument)} was renamed: use {option_of(FORMER_NAMES[argument])}")


def _object(option: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{option} {text!r} is not JSON: {error}"
        hint = f'quote it for the shell: {option} \'{{"name": "value"}}\''
        raise CommandError(message, hint=hint, exit_code=USAGE) from error
    if not isinstance(value, dict):
        message = f"{option} {text!r} is no JSON object"
        raise CommandError(message, exit_code=USAGE)
    return value


def _check_pooler_config(given: dict[str, Any], text: str) -> None:
    from millpond.types.config import PoolerConfig  # noqa: PLC0415  needs pydantic; --help does not

    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # LLM tells of fields' old names
            PoolerConfig.parse(given)
    except InvalidInputError as error:
        message = f"--pooler-config {text!r}: {error.message.removeprefix('pooler_config: ')}"
        raise CommandError(message, exit_code=USAGE) from error


def _kernels(given: Sequence[str]) -> dict[str, str]:
    """Return the variants that ``--kernel`` names, by op."""
    kernels: dict[str, str] = {}
    for item in given:
        op, _, variant = item.partition("=")
        if not (op and variant):
            message = f"--kernel {item!r} is not spelled OP=VARIANT, such as attention=sdpa"
            raise CommandError(message, hint="`millpond plugins kernels` lists what there is", exit_code=USAGE)
        kernels[op] = variant
    return kernels
