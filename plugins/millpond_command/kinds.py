"""The kinds of records of this kit: commands, clusters that run them, and applications that clusters serve."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.hookspecs import hookspec
from millpond.plugin.specs import Spec


@dataclass(frozen=True, kw_only=True)
class CommandSpec(Spec):
    """A command under ``millpond``; its target is a ``typer.Typer``.

    Attributes:
        group: The heading under which ``millpond --help`` lists it: that of built-in commands, such as "Run models", or
            a new one.
    """

    kind: ClassVar[str] = "command"
    checks: ClassVar[str] = "millpond_command.record_checks"
    group: str = "Other commands"


@dataclass(frozen=True, kw_only=True)
class ClusterSpec(Spec):
    """Machines that run jobs and servers; target: ``(address) -> Cluster``, see ``millpond_command.clusters``.

    The cluster ``ray`` is the option ``--ray ADDRESS`` of ``millpond job run`` and ``millpond serve``.
    """

    kind: ClassVar[str] = "cluster"
    checks: ClassVar[str] = "millpond_command.record_checks"


@dataclass(frozen=True, kw_only=True)
class ApplicationSpec(Spec):
    """An HTTP API for the server of a different program; target: ``(ServedModels) -> Application``."""

    kind: ClassVar[str] = "application"
    checks: ClassVar[str] = "millpond_command.record_checks"


@hookspec
def register_commands() -> Iterable[CommandSpec]:
    """Declare subcommands of ``millpond``.

    The target is a ``typer.Typer``. ``millpond --help`` shows the summary of the command; the target is imported when
    the command is called.
    """
    return ()


@hookspec
def register_clusters() -> Iterable[ClusterSpec]:
    """Declare clusters, which run jobs and servers on several machines.

    The name is an option of ``millpond job run`` and ``millpond serve``; its value is the address.
    """
    return ()


@hookspec
def register_applications() -> Iterable[ApplicationSpec]:
    """Declare applications: HTTP APIs that the server of a different program can run.

    The target takes the models to serve, and returns an ASGI application.
    """
    return ()
