"""Conversion of a model's options to arguments of ``LLM``, with checks before torch is imported."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.registry import Entry, quantization_schemes
from millpond.plugin.specs import TaskSpec
from millpond.types.compute import check_names
from millpond.types.errors import InvalidInputError, UnknownNameError
from millpond_command.cli import USAGE, CommandError
from millpond_command.model_options import MODEL_OPTIONS, FileOptions

OBJECTS: Final = tuple(name for name, it in MODEL_OPTIONS.items() if it.metavar == "JSON")
"""The arguments whose options take JSON objects."""
UNSET: Final = (None, ())  # typer passes () for a repeatable option that is not used


def option_of(argument: str) -> str:
    """Return the name of the option for an argument of ``LLM``."""
    return f"--{argument.replace('_', '-')}"


def arguments_of(options: FileOptions) -> dict[str, Any]:
    """Return the arguments of ``LLM`` for the options that are set; ``LLM`` has the defaults of the others.

    Raises:
        CommandError: An option is invalid.
    """
    arguments = {name: value for name, value in vars(options).items() if value not in UNSET}
    for name in OBJECTS:
        if name in arguments:
            arguments[name] = _parse_object(option_of(name), arguments[name])
    if "pooler_config" in arguments:
        _check_pooler_config(arguments["pooler_config"], vars(options)["pooler_config"])
    if "kernels" in arguments:
        arguments["kernels"] = _parse_kernels(arguments["kernels"])
    schemes = quantization_schemes(get_plugin_manager().registry)
    check_names({name: value for name, value in arguments.items() if isinstance(value, str)}, schemes)
    several = arguments.get("quantization", "")  # of `verify`, which checks its dtypes itself
    for scheme in () if isinstance(several, str) else several:
        check_names({"quantization": scheme}, schemes)
    return arguments


def check_folder(model: str) -> None:
    """Check that a name that can only be a path, such as ``./model``, is a folder or a TOML file, without torch.

    Raises:
        ModelNotFoundError: If it is not; the message suggests a folder with a similar name.
    """
    path = Path(model).expanduser()
    if model.startswith((".", "/", "~")) and not path.is_dir() and not (path.suffix == ".toml" and path.is_file()):
        from millpond.model.source import SourceOptions, find_repository  # noqa: PLC0415  needs pydantic

        find_repository(get_plugin_manager().registry, model, SourceOptions())


def read_expected_space(value: str | None) -> str | None:
    """Return an expected space for ``Space.require``: the id, or the descriptor that a file contains.

    Args:
        value: The id, or the path of a JSON file, of a parquet file, of a file with ``.space.json`` beside it, or of
            the folder of a job; None for none.

    Raises:
        CommandError: If the file cannot be read or contains no descriptor.
    """
    if value is None:
        return None
    from millpond_checkpoints.space import METADATA_KEY, SIDECAR_SUFFIX  # noqa: PLC0415  not needed by --help

    path = Path(value)
    if not path.exists():
        if os.sep in value or path.suffix:
            raise CommandError(f"--expect-space: {value} does not exist", exit_code=USAGE)
        return value
    path = path / "job.json" if path.is_dir() else path
    sidecar = path.with_suffix(SIDECAR_SUFFIX)
    try:
        if path.suffix != ".parquet":
            return (path if path.suffix == ".json" else sidecar).read_text(encoding="utf-8")
        import pyarrow.parquet as pq  # noqa: PLC0415  only this format needs it

        metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
        return metadata[METADATA_KEY.encode()].decode()
    except (OSError, ValueError, KeyError) as error:
        message = f"--expect-space: {value} has no descriptor of a space: {error}"
        raise CommandError(message, exit_code=USAGE) from error


def _parse_object(option: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{option} {text!r} is not JSON: {error}"
        hint = f'quote it for the shell: {option} \'{{"name": "value"}}\''
        raise CommandError(message, hint=hint, exit_code=USAGE) from error
    if not isinstance(value, dict):
        message = f"{option} {text!r} is not a JSON object"
        raise CommandError(message, exit_code=USAGE)
    return value


def _check_pooler_config(config: dict[str, Any], text: str) -> None:
    from millpond.types.config import PoolerConfig  # noqa: PLC0415  needs pydantic; --help does not

    try:
        PoolerConfig.parse(config)
    except InvalidInputError as error:
        message = f"--pooler-config {text!r}: {error.message.removeprefix('pooler_config: ')}"
        raise CommandError(message, exit_code=USAGE) from error


def _parse_kernels(choices: Sequence[str]) -> dict[str, str]:
    """Return the values of ``--kernel``, ``OP=VARIANT``, as variants by op."""
    kernels: dict[str, str] = {}
    for choice in choices:
        op, _, variant = choice.partition("=")
        if not (op and variant):
            message = f"--kernel {choice!r}: expected OP=VARIANT, such as attention=sdpa"
            raise CommandError(message, hint="`millpond plugins kernels` lists the variants", exit_code=USAGE)
        kernels[op] = variant
    return kernels


def task_named(name: str, option: str) -> Entry[TaskSpec]:
    """Return the task with this name.

    Args:
        name: The name.
        option: The option that states it, for the message.

    Raises:
        CommandError: No plugin provides it; the message suggests similar names.
    """
    try:
        return get_plugin_manager().registry.tasks.get(name)
    except UnknownNameError as error:
        raise CommandError(f"{option} {name!r}: {error}", exit_code=USAGE) from error
