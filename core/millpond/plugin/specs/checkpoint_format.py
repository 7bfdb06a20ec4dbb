"""The record of a checkpoint format: files in addition to config.json."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class CheckpointFormatSpec(Spec):
    """A format of files in addition to config.json; target: (Repository) -> ``CheckpointFacts`` or None.

    Attributes:
        files: Files relative to the checkpoint's folder, or shell patterns such as ``*/adapter_config.json``; the
            target is called if one of them exists.
        priority: If several formats specify a value, the one with the highest priority is used.
    """

    kind: ClassVar[str] = "checkpoint_format"
    files: tuple[str, ...]
    priority: int = 0
