"""The record of a kernel: one implementation of an op."""

from dataclasses import dataclass
from typing import ClassVar

from millpond.compat.kernel_features import current_features
from millpond.compat.renamed import renamed_fields
from millpond.plugin.specs.base import Spec


@renamed_fields(serves="features")
@dataclass(frozen=True, kw_only=True)
class KernelSpec(Spec):
    """One implementation of an op, named ``<op>.<variant>``; its target is a function.

    Attributes:
        devices: Device types it runs on, such as ``("cpu", "cuda")``; empty for any.
        dtypes: Names of the dtypes it computes in, such as ``("float32",)``; empty for any.
        priority: Of the variants that fit, the highest is taken.
        available: ``"module:function"``, asked before it is chosen: True if it can run here, else False, or a text
            that says why not.
        quantization: The scheme it computes in, such as ``"int8"``; it serves where that is asked for, and goes
            before those of none.
        batch_invariant: Whether each sequence's result is the same to the bit whatever shares its batch; the others
            do not serve ``batch_invariant=True``.
        features: The optional features of the op that it supports, such as ``("softcap",)``. Models that require
            another feature use another kernel.
        fuses: The kernels that it computes in one go, such as ``("attention.sdpa", "linear.torch")``: it is chosen only
            where each of them would serve its op. A bare op, such as ``"attention"``, stands for any of its kernels,
            unless the user named one. A kernel of another plugin is named with it: ``"kernels/attention.sdpa"``.
        cases: ``"module:class"`` of the ``KernelCases`` that makes arguments for the op in tests; one record of an op
            needs it.
    """

    kind: ClassVar[str] = "kernel"
    devices: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    priority: int = 0
    available: str | None = None
    quantization: str | None = None
    batch_invariant: bool = False
    features: tuple[str, ...] = ()
    fuses: tuple[str, ...] = ()
    cases: str | None = None

    def __post_init__(self) -> None:
        """Refuse text in place of a tuple, and rename former features."""
        super().__post_init__()
        object.__setattr__(self, "features", current_features(self.features))

    @property
    def op(self) -> str:
        """The op that it implements: the part of the name before the first dot."""
        return self.name.partition(".")[0]

    @property
    def variant(self) -> str:
        """The variant: the part of the name after the first dot."""
        return self.name.partition(".")[2]
