"""VllmArguments: translates the arguments of vLLM's ``LLM`` to those of Millpond."""

import logging
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from millpond.types.config import PoolerConfig
from millpond.types.errors import InvalidInputError
from millpond_vllm.arguments import (
    ARGUMENTS,
    LOG_LEVEL,
    LOWERS,
    RENAMED,
    engine_argument,
    is_attention_backend,
    log_level,
    lower_of,
)

CONVERSIONS: Final[Mapping[str, tuple[str, str | None]]] = {
    "embed": ("embed", "embed"),
    "classify": ("classify", "classify"),
    "score": ("classify", "classify"),
    "reward": ("reward", None),  # the conversion chooses the task
}
"""The conversion and the default task of each value of ``task``."""
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
            elif name in LOWERS:
                _lower(translated, name, value)
            elif name == LOG_LEVEL:
                _set_log_level(value)
            else:
                continue
            del translated[name]
        if "task" in translated:  # after the older name of pooler_config
            _choose_task(translated, translated.pop("task"))
        if without_effect:
            logger.warning("vLLM arguments without effect: %s", ", ".join(without_effect))
        return translated

    @staticmethod
    def names() -> list[str]:
        """Return the names of the arguments of the table."""
        of_table = [name for name, argument in ARGUMENTS.items() if argument.takes != "server"]
        return ["task", *of_table, *RENAMED, *LOWERS, LOG_LEVEL]


def _fill(arguments: dict[str, Any], name: str, value: object) -> None:
    """Set an argument unless the caller passed it."""
    if arguments.get(name) is None:
        arguments[name] = value


def _choose_task(arguments: dict[str, Any], task: object) -> None:
    """Convert the model to a task of vLLM's older argument ``task``, and make it the default task of ``encode``.

    Raises:
        InvalidInputError: If the task is unknown.
    """
    if task in ("auto", None):
        return
    if task not in CONVERSIONS:
        message = f"Unknown task={task!r}. Available: auto, {', '.join(CONVERSIONS)}. `convert` replaces `task`"
        raise InvalidInputError(message, parameter="task")
    conversion, default_task = CONVERSIONS[str(task)]
    if arguments.get("convert", "auto") == "auto":
        arguments["convert"] = conversion
    pooler = PoolerConfig.parse(arguments.get("pooler_config"))
    if default_task is not None and pooler.task is None:
        arguments["pooler_config"] = pooler.model_copy(update={"task": default_task})


def _lower(arguments: dict[str, Any], name: str, value: object) -> None:
    """Set an argument to the smaller of its value and that of an argument of vLLM."""
    if value is None:
        return
    target = LOWERS[name]
    lower = lower_of(value, arguments.get(target))
    if lower is None:
        message = f"{name}={value!r}: expected a whole number of at least 1"
        raise InvalidInputError(message, parameter=name)
    arguments[target] = lower


def _set_log_level(value: object) -> None:
    """Set the level of the loggers of Millpond and of its plugins."""
    if value is None:
        return
    try:
        level = log_level(value)
    except ValueError as error:
        raise InvalidInputError(str(error), parameter=LOG_LEVEL) from None
    packages = {entry.value.partition(".")[0].partition(":")[0] for entry in entry_points(group="millpond")}
    for package in {"millpond", *packages}:
        logging.getLogger(package).setLevel(level)


def _choose_attention(arguments: dict[str, Any], value: object) -> None:
    """Choose a kernel of attention by its name, unless it is an implementation of vLLM."""
    kernels = arguments.get("kernels") or {}
    if value is not None and not is_attention_backend(value) and isinstance(kernels, Mapping):
        arguments["kernels"] = {"attention": value, **kernels}
