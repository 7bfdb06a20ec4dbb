"""The record of the command `verify`."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_command.kinds import CommandSpec


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Compare a model with its reference implementation."""
    yield CommandSpec(
        name="verify",
        target="millpond_verify.command:app",
        summary="Compare a model with its reference implementation.",
        group="Examine models",
    )
