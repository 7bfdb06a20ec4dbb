"""What was typed for ``millpond serve``, checked, as names of the models and settings of the server."""

import json
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from millpond.types.extras import install_command
from millpond_command.cli import USAGE, CommandError
from millpond_server.command.options import AccessOptions, AddressOptions, LimitOptions

if TYPE_CHECKING:
    from millpond_server.runtime.settings import Settings

NEEDED = ("starlette", "uvicorn", "orjson", "prometheus_client")
OPENS_KEY = "MILLPOND_SSL_KEYFILE_PASSWORD"
KEYS = ("MILLPOND_API_KEY", "VLLM_API_KEY")
TEMPLATE_SECONDS = 1.0  # of a CPU, for all templates of a request
OF_LIMITS = {
    "max_body_bytes": "body_bytes",
    "max_inputs": "inputs",
    "max_tokens": "tokens",
    "max_documents": "documents",
    "max_images": "images",
    "max_queue_wait": "queue_wait",
    "max_connections": "connections",
    "request_timeout": "request_seconds",
    "hang_timeout": "hang_seconds",
    "quarantine": "quarantine_seconds",
    "drain_delay": "drain_delay",
    "drain_timeout": "drain_seconds",
}


def check_extra() -> None:
    """See that what the server stands on is installed.

    Raises:
        CommandError: It is not.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        message = f"`millpond serve` needs {', '.join(missing)}, of the extra 'serve'"
        raise CommandError(message, hint=install_command("serve"), exit_code=USAGE)


def names_of(models: Sequence[str], given: Sequence[str]) -> list[tuple[str, ...]]:
    """What requests call each model: several names where there is one model, one a model where there are several.

    Raises:
        CommandError: There are not as many names as models.
    """
    if not given:
        return [(model,) for model in models]
    if len(models) == 1:
        return [tuple(dict.fromkeys(given))]
    if len(given) != len(models):
        message = f"--served-model-name gives {len(given)} names to {len(models)} models: give one to each"
        raise CommandError(message, exit_code=USAGE)
    return [(name,) for name in given]


def settings_of(
    address: AddressOptions, access: AccessOptions, limits: LimitOptions, environment: Mapping[str, str] = os.environ
) -> "Settings":
    """The settings of the server.

    Raises:
        CommandError: One of them is out of bounds.
    """
    from pydantic import ValidationError  # noqa: PLC0415  --help does without

    from millpond_server.runtime.settings import Limits, Settings  # noqa: PLC0415

    chosen = {OF_LIMITS[name]: value for name, value in vars(limits).items() if name in OF_LIMITS and value is not None}
    if access.trust_request_chat_template:
        chosen["template_seconds"] = TEMPLATE_SECONDS
    from_environment = next((environment[name] for name in KEYS if environment.get(name)), None)
    keys = access.api_key or ([] if from_environment is None else [from_environment])
    given = {
        **vars(address),
        **vars(access),
        "overload_status": limits.overload_status,
        "ssl_keyfile_password": _password(address, environment),
        "root_path": address.root_path.rstrip("/"),
        "api_keys": tuple(keys),
        "allowed_hosts": tuple(access.allowed_host or ()),
        "cors_origins": tuple(_origins(access.cors_origin or ())),
        "routes": tuple(address.routes or ()),
    }
    try:
        return Settings(
            **{name: value for name, value in given.items() if name in Settings.model_fields},
            limits=Limits(**chosen),
        )
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = _option_of(str(fault["loc"][-1] if isinstance(fault["loc"][-1], str) else fault["loc"][0]))
        shown = "" if "key" in name or "password" in name else f" {fault['input']!r}"
        message = f"{name}{shown}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
        raise CommandError(message, exit_code=USAGE) from error


def _password(address: AddressOptions, environment: Mapping[str, str]) -> str | None:
    """What opens the key of the certificate; what the environment says is for servers that have one."""
    if address.ssl_keyfile_password is not None or address.ssl_certfile is None:
        return address.ssl_keyfile_password
    return environment.get(OPENS_KEY)


def _option_of(field: str) -> str:
    names = {own: name for name, own in OF_LIMITS.items()} | {
        "api_keys": "api_key",
        "cors_origins": "cors_origin",
        "allowed_hosts": "allowed_host",
    }
    return f"--{names.get(field, field).replace('_', '-')}"


def _origins(given: Sequence[str]) -> list[str]:
    """The origins; vLLM has them as a JSON list."""
    found: list[str] = []
    for origin in given:
        found += json.loads(origin) if origin.startswith("[") else [origin]
    return found
