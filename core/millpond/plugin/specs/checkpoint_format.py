"""CheckpointFormatSpec: a format of files beside config.json."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class CheckpointFormatSpec(Spec):
    """A format of files beside config.json; target: (Repository) -> ``CheckpointFacts``, or None for none of it.

    Attributes:
        files: The files of which one must be there for the target to be asked, relative to the checkpoint's folder;
            shell patterns such as ``*/adapter_config.json``.
        priority: Of formats that state the same value, the highest is taken.
    """

    kind: ClassVar[str] = "checkpoint_format"
    files: tuple[str, ...]
    priority: int = 0
