"""The record of the command `job`."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_command.kinds import CommandSpec


@hookimpl
def register_commands() -> Iterator[CommandSpec]:
    """Run bulk jobs."""
    yield CommandSpec(
        name="job",
        target="millpond_jobs.commands.job:app",
        summary="Run bulk jobs over files, which resume after a crash.",
        group="Serve and run in bulk",
    )
