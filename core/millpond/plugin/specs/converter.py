"""The record of a converter to a pooling model."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class ConverterSpec(Spec):
    """A conversion of other models into pooling models; target: (model class, Context) -> model class.

    Attributes:
        architectures: Shell patterns of architecture names; the converter with the longest matching pattern is used.
        tasks: The tasks of the converted model.
        pooling: The pooling types that select this converter before others; "" if neither the user nor the model's
            files specify one. Empty for any.
    """

    kind: ClassVar[str] = "converter"
    architectures: tuple[str, ...]
    tasks: tuple[str, ...]
    pooling: tuple[str, ...] = ()
