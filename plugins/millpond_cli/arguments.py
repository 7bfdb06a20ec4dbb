"""Options that were typed, checked before torch is imported: a loaded model, and the arguments of its calls."""

from typing import TYPE_CHECKING, Any

from millpond_cli.options import Asking
from millpond_command.cli import USAGE, CommandError
from millpond_command.model_arguments import arguments_of
from millpond_command.model_options import Files

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.loading.arguments import Arguments

ON_OVERFLOW = ("error", "truncate", "chunk")


def load(model: str, typed: Files) -> "LLM":
    """Load a model.

    Raises:
        CommandError: An option is invalid.
    """
    arguments = arguments_of(typed)  # first: a typo is reported before torch is imported
    from millpond.llm import LLM  # noqa: PLC0415  needs pydantic, then torch; --help needs neither

    return LLM(model, **arguments)


def read(typed: Files) -> "Arguments":
    """Return the arguments as loading takes them, to inspect a model without running it.

    Raises:
        CommandError: An option is invalid.
    """
    arguments = arguments_of(typed)
    from millpond.loading.arguments import read_arguments  # noqa: PLC0415  as above

    return read_arguments(arguments)


def for_call(typed: Asking) -> dict[str, Any]:
    """Return the arguments that every method of ``LLM`` takes.

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
