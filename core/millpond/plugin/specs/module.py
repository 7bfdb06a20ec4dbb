"""ModuleSpec: a module that checkpoints list beside their model."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class ModuleSpec(Spec):
    """A module that checkpoints list beside their model; target: (Context, config, weights) -> ``torch.nn.Module``.

    Attributes:
        places: The places that it may have in a checkpoint: ``before`` pooling, ``after`` it; empty where neither the
            vectors of tokens nor what is pooled go through it.
        size: ``"module:function"``: (config, dimensions that it takes, or None) -> dimensions that it gives, or None;
            by default ``out_features`` of its config, else as many as it takes.
        sparse: True if what it gives is a sparse vector of features, whose largest values are kept.
    """

    kind: ClassVar[str] = "module"
    places: tuple[str, ...] = ("after",)
    size: str | None = None
    sparse: bool = False
