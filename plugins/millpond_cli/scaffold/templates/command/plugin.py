"""Registers the components of this package."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_command.kinds import CommandSpec

MILLPOND_API = 1


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Register ``millpond addon_name``."""
    yield CommandSpec(
        name="addon_name",
        target="addon_package.command:app",
        summary="Count the tokens of each line.",
    )
