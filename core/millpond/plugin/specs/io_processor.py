"""The record of an IO processor."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class IOProcessorSpec(Spec):
    """An IO processor; its target is an ``IOProcessor`` class.

    Attributes:
        tasks: The tasks it serves; ``("plugin",)`` for custom input and output.
    """

    kind: ClassVar[str] = "io_processor"
    tasks: tuple[str, ...]
