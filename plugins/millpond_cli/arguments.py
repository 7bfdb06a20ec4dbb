"""What was typed of a model, checked and turned into the arguments of ``LLM``, before torch is imported."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from millpond.cli import USAGE, CommandError
from millpond.errors import InvalidInputError
from millpond_cli.options import Asking, Files

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.loading.arguments import Arguments

OBJECTS = frozenset({"hf_overrides", "mm_processor_kwargs", "limit_mm_per_prompt"})  # which are typed as JSON
ON_OVERFLOW = ("error", "truncate", "chunk")


def load(model: str, typed: Files) -> "LLM":
    """The model, ready to be asked.

    Raises:
        CommandError: What was typed is wrong in itself.
    """
    arguments = for_llm(typed)  # first: a slip of the pen is told before torch is imported
    from millpond.llm import LLM  # noqa: PLC0415  needs pydantic, then torch; --help needs neither

    return LLM(model, **arguments)


def read(typed: Files) -> "Arguments":
    """The arguments as loading takes them, for who looks at a model without running it.

    Raises:
        CommandError: What was typed is wrong in itself.
    """
    arguments = for_llm(typed)
    from millpond.loading.arguments import read_arguments  # noqa: PLC0415  as above

    return read_arguments(arguments)


def for_llm(typed: Files) -> dict[str, Any]:
    """The arguments of ``LLM``.

    Raises:
        CommandError: What was typed is wrong in itself.
    """
    given = dict(vars(typed))
    for name in OBJECTS & given.keys():
        given[name] = json_object(f"--{name.replace('_', '-')}", given[name])
    if "kernels" in given:
        given["kernels"] = kernels_of(given["kernels"] or ())
    if "pooler_config" in given:
        given["pooler_config"] = pooler_config_of(given["pooler_config"])
    return given


def for_call(typed: Asking) -> dict[str, Any]:
    """The arguments that every method of ``LLM`` takes.

    Raises:
        CommandError: They contradict each other.
    """
    if typed.prompt is not None and typed.prompt_name is not None:
        message = "--prompt and --prompt-name both say what stands before a text"
        raise CommandError(message, hint="give one of them", exit_code=USAGE)
    action = _on_overflow(typed)
    asked = {"prompt": typed.prompt, "prompt_name": typed.prompt_name, "adapter": typed.adapter}
    if action == "truncate":
        return {**asked, "truncate_prompt_tokens": -1}
    return {**asked, "on_overflow": action}


def _on_overflow(typed: Asking) -> str | None:
    asked = typed.on_overflow
    if asked not in (None, *ON_OVERFLOW):
        message = f"--on-overflow {asked!r}: expected one of {', '.join(ON_OVERFLOW)}"
        raise CommandError(message, exit_code=USAGE)
    if typed.truncate is None:
        return asked
    short = "truncate" if typed.truncate else "error"
    if asked not in (None, short):
        message = f"--{'' if typed.truncate else 'no-'}truncate and --on-overflow {asked} contradict each other"
        raise CommandError(message, hint="give one of them", exit_code=USAGE)
    return short


def json_object(option: str, text: str | None) -> dict[str, Any] | None:
    """The JSON object that was given to an option.

    Raises:
        CommandError: It is none.
    """
    if text is None:
        return None
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


def pooler_config_of(text: str | None) -> dict[str, Any] | None:
    """The object given to ``--pooler-config``, its fields checked.

    Raises:
        CommandError: It is no pooler config.
    """
    config = json_object("--pooler-config", text)
    if config is None:
        return None
    from millpond.config import PoolerConfig  # noqa: PLC0415  needs pydantic; --help does not

    try:
        PoolerConfig.parse(config)
    except InvalidInputError as error:
        message = f"--pooler-config {text!r}: {error.message.removeprefix('pooler_config: ')}"
        raise CommandError(message, exit_code=USAGE) from error
    return config


def kernels_of(given: Sequence[str]) -> dict[str, str]:
    """The variants that ``--kernel`` names, by op.

    Raises:
        CommandError: One is not spelled ``op=variant``.
    """
    kernels: dict[str, str] = {}
    for item in given:
        op, _, variant = item.partition("=")
        if not (op and variant):
            message = f"--kernel {item!r} is not spelled OP=VARIANT, such as attention=sdpa"
            raise CommandError(message, hint="`millpond plugins kernels` lists what there is", exit_code=USAGE)
        kernels[op] = variant
    return kernels
