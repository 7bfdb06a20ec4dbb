"""Names of options in errors, and the error for an option with an unknown value."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches

from millpond_command.cli import USAGE, CommandError


def unknown_choice(option: str, value: str, choices: Sequence[str]) -> CommandError:
    """Return the error for an unknown value; its hint suggests a similar choice."""
    close = get_close_matches(value, choices, n=1)
    message = f"{option} {value!r}: expected one of {', '.join(choices)}"
    return CommandError(message, hint=f"did you mean {close[0]!r}?" if close else "", exit_code=USAGE)


def spelled_option(option: str, *, names_column: bool = False) -> str:
    """Return an option such as ``--text-key`` as the user spelled it: its other name is ``--text-column``.

    Args:
        option: The option, ending with "-key".
        names_column: True for a file with columns: the other name is returned if the user wrote neither.
    """
    other = f"{option.removesuffix('-key')}-column"
    written = {argument.partition("=")[0] for argument in sys.argv}
    if option in written:
        return option
    return other if names_column or other in written else option
