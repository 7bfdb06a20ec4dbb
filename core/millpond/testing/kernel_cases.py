"""KernelCases: the arguments that kernels of an op are tested with, and the part of a result of each sequence."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from millpond.compat.kernel_features import current_features
from millpond.compat.warn import warn_caller

Tensors = dict[str, Tensor]
Setting = Mapping[str, Any]
Kernel = Callable[..., Any]


class KernelCases:
    """Arguments for an op whose kernels map rows to rows: ``kernel(x)``. Subclass it for an op of your own.

    Attributes:
        packed: The names of the tensors with one row a token, sequences end to end.
        overwrites: Those that a kernel may write its result into.
        spoils: Those in which what is not finite must show in the result.
        enlarged: Those that are made tiny and huge.
        sizes: What they are multiplied with, in float32.
        widths: The sizes of a row, multiples of a vector and not.
        ops: Other ops, whose kernels those of this op are built of.
    """

    packed: ClassVar[tuple[str, ...]] = ("x",)
    overwrites: ClassVar[tuple[str, ...]] = ()
    spoils: ClassVar[tuple[str, ...]] = ("x",)
    enlarged: ClassVar[tuple[str, ...]] = ("x",)
    sizes: ClassVar[tuple[float, ...]] = (1e-6, 1e4)
    widths: ClassVar[tuple[int, ...]] = (1, 7, 16, 33, 64, 100, 384)
    ops: ClassVar[tuple[str, ...]] = ()

    def with_parts(self, kernel: Kernel, parts: Mapping[str, Kernel]) -> Kernel:
        """The kernel as ``call`` takes it. Override it for an op whose kernels are built of kernels of other ops.

        Args:
            kernel: The kernel.
            parts: A kernel of each of ``ops``: those that the kernel fuses, else those that are chosen for its record.
        """
        del parts
        return kernel

    def settings(self) -> Sequence[Setting]:
        """All that an op can be asked to do: what is no tensor, or says which tensors there are."""
        return ({},)

    def required_features(self, setting: Setting) -> tuple[str, ...]:
        """The optional features that a setting uses; only kernels with these ``features`` are tested with it."""
        former: Callable[[Setting], tuple[str, ...]] | None = getattr(self, "needs", None)
        if former is None:
            return ()
        warn_caller(f"{type(self).__name__}.needs was renamed: override required_features")
        return current_features(former(setting))

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Random tensors by name, in float32 on the CPU."""
        del setting
        return {"x": torch.randn(num_tokens, width, generator=generator)}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """What the kernel makes of the tensors."""
        del lengths, setting
        result: Tensor = kernel(**tensors)
        return result

    def parts(self, result: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
        """What of the result belongs to each sequence."""
        shares: Sequence[Tensor] = result.split(list(lengths))
        return shares
