"""Checks of commands, clusters and applications for ``millpond plugins doctor``."""

import re
from collections.abc import Iterator
from typing import Any

from millpond.plugin.registry import Entry, Registry
from millpond.testing.records.common import Fault, method_faults
from millpond_command.kinds import ApplicationSpec, ClusterSpec, CommandSpec

PROTOCOLS = "millpond_command.kinds"


def command_fields(registry: Registry, entry: Entry[CommandSpec]) -> Iterator[Fault]:
    """Check that the name can be typed as a command."""
    del registry
    if re.search(r"\s", entry.spec.name) or entry.spec.name.startswith("-"):
        yield Fault(f"its name {entry.spec.name!r} cannot be typed as a command", "write one word, with hyphens")


def command_target(registry: Registry, entry: Entry[CommandSpec], target: Any) -> Iterator[Fault]:
    """Check that the target is a Typer app with a valid command."""
    del registry, entry
    import typer  # noqa: PLC0415  the other checks do not need it
    from typer.main import get_command  # noqa: PLC0415  as above

    if not isinstance(target, typer.Typer):
        yield Fault(f"its target is {target!r:.80}, not a typer.Typer", "name an app: app = typer.Typer()")
        return
    if not (target.registered_commands or target.registered_groups or target.registered_callback):
        yield Fault("its typer.Typer has no command", "decorate a function with @app.command()")
        return
    try:
        get_command(target)
    except Exception as error:  # noqa: BLE001  typer raises many exception types for invalid parameters
        reason = f"typer cannot build its command: {type(error).__name__}: {error}"
        yield Fault(reason, "use parameter types that typer supports")


def cluster_fields(registry: Registry, entry: Entry[ClusterSpec]) -> Iterator[Fault]:
    """Check that the name can be an option."""
    del registry
    if not entry.spec.name.isidentifier():
        yield Fault(f"its name {entry.spec.name!r} cannot be an option", "use letters, digits and _")


def cluster_target(registry: Registry, entry: Entry[ClusterSpec], target: Any) -> Iterator[Fault]:
    """Check that the target has the methods of a cluster."""
    del registry, entry
    yield from method_faults(target, PROTOCOLS, "run")


def application_target(registry: Registry, entry: Entry[ApplicationSpec], target: Any) -> Iterator[Fault]:
    """Check that the target has the methods of an application."""
    del registry, entry
    yield from method_faults(target, PROTOCOLS, "start", "check_health")
