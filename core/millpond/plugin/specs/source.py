"""The record of a source of models."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class SourceSpec(Spec):
    """A place models come from, named by its scheme; target: ``(name, SourceOptions) -> Path | None``.

    Attributes:
        priority: A name without a scheme is asked of the sources in descending order.
    """

    kind: ClassVar[str] = "source"
    priority: int = 0
