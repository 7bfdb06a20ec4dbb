"""Model names and server settings from the options of ``millpond serve``."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from millpond_command.cli import USAGE, CommandError
from millpond_server.command.options import LimitOptions, ServerOptions, declared_options, option_name
from millpond_server.runtime.settings import Limits, Settings, validated

if TYPE_CHECKING:
    from pydantic import ValidationError

REQUIRED_MODULES = ("starlette", "uvicorn", "orjson", "prometheus_client", "python_multipart", "filelock")
KEYFILE_VARIABLE = "MILLPOND_SSL_KEYFILE_PASSWORD"
API_KEY_VARIABLES = ("MILLPOND_API_KEY", "VLLM_API_KEY")
TEMPLATE_CPU_SECONDS = 1.0  # for all templates of a request


def names_of(models: Sequence[str], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the names of each model in requests: all names for a single model, else one name per model.

    Raises:
        CommandError: If the number of names differs from the number of models, or a request cannot contain a name.
    """
    for name in names or models:
        _check_name(name)
    if not names:
        return [(model,) for model in models]
    if len(models) == 1:
        return [tuple(dict.fromkeys(names))]
    if len(names) != len(models):
        message = f"--served-model-name: {len(names)} names for {len(models)} models; pass one name per model"
        raise CommandError(message, exit_code=USAGE)
    return [(name,) for name in names]


def _check_name(name: str) -> None:
    """Refuse an empty name, and one that JSON cannot contain, such as the path of a folder that is not UTF-8."""
    if not name:
        message = "--served-model-name: a name is empty"
        raise CommandError(message, exit_code=USAGE)
    try:
        name.encode()
    except UnicodeEncodeError:
        message = f"the name {name!r} is not UTF-8, so that no request can contain it"
        raise CommandError(message, hint="pass a different name with --served-model-name", exit_code=USAGE) from None


def settings_of(server: ServerOptions, limits: LimitOptions, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the server. Options that are not passed keep the defaults of ``Settings``.

    Raises:
        CommandError: If a value is invalid.
    """
    from pydantic import ValidationError  # noqa: PLC0415  --help does not need it

    try:
        return validated(values_of(server, limits, environment))
    except ValidationError as error:
        raise _command_error(error) from error


def values_of(
    server: ServerOptions, limits: LimitOptions, environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Return the values of the options that are passed, by the names of ``Settings``."""
    names = {field.name for field in fields(Settings)}
    values = _passed(server, names) | _from_environment(server, environment)
    values["limits"] = _passed(limits, vars(limits))
    if server.trust_request_chat_template:
        values["limits"]["template_seconds"] = TEMPLATE_CPU_SECONDS
    if "cors_origins" in values:
        values["cors_origins"] = tuple(_origins(values["cors_origins"]))
    if "root_path" in values:
        values["root_path"] = values["root_path"].rstrip("/")
    return values


def _passed(options: object, names: Collection[str]) -> dict[str, Any]:
    """Return the named options that have a value."""
    values = {name: value for name, value in vars(options).items() if name in names and value is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _from_environment(server: ServerOptions, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the secrets that are in environment variables and not on the command line."""
    options, values = vars(server), dict[str, Any]()
    keys = [environment[name] for name in API_KEY_VARIABLES if environment.get(name)]
    if keys and not options["api_keys"]:
        values["api_keys"] = tuple(keys[:1])
    if options["ssl_certfile"] is not None and options["ssl_keyfile_password"] is None:
        values["ssl_keyfile_password"] = environment.get(KEYFILE_VARIABLE)
    return values


def _command_error(error: "ValidationError") -> CommandError:
    """Return the first validation error with the name of the option, and without secrets."""
    first = error.errors(include_url=False)[0]
    *_, field = (part for part in first["loc"] if isinstance(part, str))
    option = option_name((declared_options(Settings) | declared_options(Limits))[field])
    value = "" if "key" in option else f" {first['input']!r}"
    return CommandError(f"{option}{value}: {first['msg'][0].lower()}{first['msg'][1:]}", exit_code=USAGE)


def _origins(values: Sequence[str]) -> list[str]:
    """Return the origins; a value may be a JSON list, like vLLM's."""
    origins: list[str] = []
    for value in values:
        origins += _list_of(value) if value.startswith("[") else [value]
    return origins


def _list_of(value: str) -> list[str]:
    try:
        origins: list[str] = json.loads(value)
    except json.JSONDecodeError as error:
        message = f"--cors-origin {value!r}: not a JSON list: {error}"
        raise CommandError(message, exit_code=USAGE) from None
    return origins
