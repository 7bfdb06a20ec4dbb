"""The records of poolers and of activations."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class PoolerSpec(Spec):
    """A pooler, named by its pooling type (``MEAN``); its target is a ``Pooler`` class.

    Attributes:
        tasks: The tasks for which it can be asked.
        size_key: The key of config.json that says how many values it gives, such as ``vocab_size``; None for as many
            as a hidden state has.
        activation: The activation of its results in place of that of the task, such as ``identity``.
    """

    kind: ClassVar[str] = "pooler"
    tasks: tuple[str, ...]
    size_key: str | None = None
    activation: str | None = None


@dataclass(frozen=True, kw_only=True)
class ActivationSpec(Spec):
    """An activation of pooled tensors; its target takes and returns a tensor of shape [..., dim].

    Attributes:
        op: The op whose implementation computes it for models; the target serves where there is none.
    """

    kind: ClassVar[str] = "activation"
    op: str | None = None
