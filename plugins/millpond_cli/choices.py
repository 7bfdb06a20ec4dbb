"""The error for an option with an unknown value."""

from collections.abc import Sequence
from difflib import get_close_matches

from millpond_command.cli import USAGE, CommandError


def unknown_choice(option: str, value: str, choices: Sequence[str]) -> CommandError:
    """Return the error for an unknown value; its hint suggests a similar choice."""
    close = get_close_matches(value, choices, n=1)
    message = f"{option} {value!r}: expected one of {', '.join(choices)}"
    return CommandError(message, hint=f"did you mean {close[0]!r}?" if close else "", exit_code=USAGE)
