"""The record of a command."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class CommandSpec(Spec):
    """A command under ``millpond``; its target is a ``typer.Typer``."""

    kind: ClassVar[str] = "command"
