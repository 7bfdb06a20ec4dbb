"""The record of a source of models."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class SourceSpec(Spec):
    """A source of models, named by its scheme; target: ``(name, SourceOptions) -> Path | None``.

    Attributes:
        priority: For a name without a scheme, sources are tried in descending order of priority.
    """

    kind: ClassVar[str] = "source"
    priority: int = 0
