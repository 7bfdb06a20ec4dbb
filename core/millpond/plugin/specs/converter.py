"""The record of a converter to a pooling model."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class ConverterSpec(Spec):
    """A way to make a pooling model of an architecture that is none; target: (model class, Context) -> model class.

    Attributes:
        architectures: Shell patterns of architecture names; of those that match, the longest wins.
        tasks: The tasks of the converted model.
        pooling: The pooling types that it is for: it is taken where the user names one of them, and before others; ""
            is where neither the user nor the model's files name one. Empty for any.
    """

    kind: ClassVar[str] = "converter"
    architectures: tuple[str, ...]
    tasks: tuple[str, ...]
    pooling: tuple[str, ...] = ()
