"""VllmArguments: translates the arguments of vLLM's ``LLM`` to those of Millpond."""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

from millpond.types.errors import InvalidInputError
from millpond_vllm.arguments import ARGUMENTS, RENAMED, engine_argument, is_attention_backend

logger = logging.getLogger(__name__)


class VllmArguments:
    """The arguments of vLLM's ``LLM``, for the role "arguments"."""

    @staticmethod
    def translate(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments with those of vLLM replaced; those without an effect are removed and logged.

        Raises:
            InvalidInputError: If an argument requests something that is not supported.
        """
        translated = dict(arguments)
        without_effect: list[str] = []
        for name, value in arguments.items():
            argument = engine_argument(name)
            if argument is not None:
                if argument.asks(value, arguments):
                    raise InvalidInputError(argument.refusal(f"{name}={value!r}"), parameter=name)
                without_effect += [] if argument.is_quiet(value) else [name]
            elif name == "attention_backend":
                without_effect += [name] if is_attention_backend(value) else []
                _choose_attention(translated, value)
            elif name in RENAMED:
                _fill(translated, RENAMED[name], value)
            elif name == "override_pooler_config":
                message = "`override_pooler_config` was renamed: use `pooler_config`"
                warnings.warn(message, DeprecationWarning, stacklevel=5)
                _fill(translated, "pooler_config", value)
            else:
                continue
            del translated[name]
        if without_effect:
            logger.info("vLLM arguments without effect: %s", ", ".join(without_effect))
        return translated

    @staticmethod
    def names() -> list[str]:
        """Return the names of the arguments of the table."""
        return [name for name, argument in ARGUMENTS.items() if argument.takes != "server"]


def _fill(arguments: dict[str, Any], name: str, value: object) -> None:
    """Set an argument unless the caller passed it."""
    if arguments.get(name) is None:
        arguments[name] = value


def _choose_attention(arguments: dict[str, Any], value: object) -> None:
    """Choose a kernel of attention by its name, unless it is an implementation of vLLM."""
    kernels = arguments.get("kernels") or {}
    if value is not None and not is_attention_backend(value) and isinstance(kernels, Mapping):
        arguments["kernels"] = {"attention": value, **kernels}
