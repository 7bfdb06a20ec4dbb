"""ModuleSpec: a module that checkpoints list beside their model."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class ModuleSpec(Spec):
    """A module of checkpoints in addition to the model; target: (Context, config, weights) -> ``torch.nn.Module``.

    Attributes:
        places: The possible positions of the module: ``before`` pooling, ``after`` pooling; empty for a module that
            processes neither hidden states nor pooled tensors.
        size: ``"module:function"``: (config, input size or None) -> output size or None; by default ``out_features`` of
            its config, or else the input size.
        sparse: True if the output is a sparse vector of features, of which the largest values are kept.
    """

    kind: ClassVar[str] = "module"
    places: tuple[str, ...] = ("after",)
    size: str | None = None
    sparse: bool = False
