"""The records of poolers and of activations."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.plugin.specs.base import Spec


@dataclass(frozen=True, kw_only=True)
class PoolerSpec(Spec):
    """A pooler, named by its pooling type (``MEAN``); its target is a ``Pooler`` class.

    Attributes:
        tasks: The tasks that it serves.
        size_key: The key of config.json with the size of its results, such as ``vocab_size``; None for the size of
            the hidden states.
        activation: The activation of its results, in place of the activation of the task, such as ``identity``.
    """

    kind: ClassVar[str] = "pooler"
    tasks: tuple[str, ...]
    size_key: str | None = None
    activation: str | None = None


@dataclass(frozen=True, kw_only=True)
class ActivationSpec(Spec):
    """An activation of pooled tensors; its target takes and returns a tensor of shape [..., dim].

    Attributes:
        op: The op whose kernels compute it for models, in float32; the target is used if there is no such kernel.
    """

    kind: ClassVar[str] = "activation"
    op: str | None = None
