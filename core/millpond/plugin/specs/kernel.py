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
        priority: The matching variant with the highest priority is used.
        available: ``"module:function"``, called before the kernel is chosen: returns True if it can run here, otherwise
            False or the reason as text.
        quantization: The quantization scheme, such as ``"int8"``: the kernel is used only with this scheme, and
            precedes kernels without one.
        batch_invariant: True if the result of a sequence is bitwise independent of the rest of the batch; other kernels
            are not used with ``batch_invariant=True``.
        features: The optional features of the op that it supports, such as ``("softcap",)``. Models that require
            another feature use another kernel.
        fuses: The kernels that it combines, such as ``("attention.sdpa", "linear.torch")``: it is chosen only if each
            of them would be chosen for its op. An op alone, such as ``"attention"``, matches any of its kernels, unless
            the user selected one. Kernels of other plugins have qualified names: ``"kernels/attention.sdpa"``.
        cases: ``"module:class"`` of the ``KernelCases`` that creates the arguments of conformance tests; required in
            one record per op.
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
