"""Conversion of command-line options: to a loaded model, and to the arguments of its methods."""

from typing import TYPE_CHECKING, Any

from millpond_cli.choices import unknown_choice
from millpond_cli.options import CallOptions
from millpond_command.cli import USAGE, CommandError
from millpond_command.model_arguments import arguments_of
from millpond_command.model_options import FileOptions

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.loading.arguments import Arguments

ON_OVERFLOW = ("error", "truncate", "chunk")


def load_model(model: str, options: FileOptions) -> "LLM":
    """Load a model. Invalid options are reported before torch is imported.

    Raises:
        CommandError: An option is invalid.
    """
    arguments = arguments_of(options)
    from millpond.llm import LLM  # noqa: PLC0415  imports pydantic and torch, which --help does not need

    return LLM(model, **arguments)


def loading_arguments(options: FileOptions) -> "Arguments":
    """Return the arguments for ``millpond.loading``, to inspect a model without running it.

    Raises:
        CommandError: An option is invalid.
    """
    arguments = arguments_of(options)
    from millpond.loading.arguments import read_arguments  # noqa: PLC0415  as above

    return read_arguments(arguments)


def call_arguments(options: CallOptions) -> dict[str, Any]:
    """Return the arguments that all methods of ``LLM`` accept.

    Raises:
        CommandError: The options contradict each other.
    """
    if options.prompt is not None and options.prompt_name is not None:
        message = "--prompt and --prompt-name cannot be used together"
        raise CommandError(message, hint="remove one of them", exit_code=USAGE)
    action = _on_overflow(options)
    arguments = {"prompt": options.prompt, "prompt_name": options.prompt_name, "adapter": options.adapter}
    if action == "truncate":
        return {**arguments, "truncate_prompt_tokens": -1}
    return {**arguments, "on_overflow": action}


def truncates(options: CallOptions) -> bool:
    """Return True if texts over the model's maximum length are truncated."""
    return _on_overflow(options) == "truncate"


def _on_overflow(options: CallOptions) -> str | None:
    action = options.on_overflow
    if action is not None and action not in ON_OVERFLOW:
        raise unknown_choice("--on-overflow", action, ON_OVERFLOW)
    if options.truncate is None:
        return action
    equivalent = "truncate" if options.truncate else "error"
    if action not in (None, equivalent):
        message = f"--{'' if options.truncate else 'no-'}truncate and --on-overflow {action} contradict each other"
        raise CommandError(message, hint="remove one of them", exit_code=USAGE)
    return equivalent
