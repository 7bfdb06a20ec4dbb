"""The record of a fallback: an implementation for architectures that have no record of their own."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class FallbackSpec(Spec):
    """An implementation of many architectures; target: (name in config.json, config) -> ``ArchitectureSpec`` or text.

    The target describes the named architecture for this config; a text states why it cannot run it.

    Attributes:
        patterns: Shell patterns of architecture names. The fallback with the longest matching pattern is tried first.
        implementation: Its name in ``model_impl``, by which users choose it over the native implementation.
        tasks: The tasks of its architectures, for listings.
    """

    kind: ClassVar[str] = "fallback"
    patterns: tuple[str, ...]
    implementation: str
    tasks: tuple[str, ...] = ()
