"""KernelCases: test arguments for the kernels of an op, and the part of a result that belongs to each sequence."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

Tensors = dict[str, Tensor]
OpOptions = Mapping[str, Any]  # the arguments of an op that are not tensors
Kernel = Callable[..., Any]


class KernelCases:
    """Test arguments for an op whose kernels map rows to rows: ``kernel(x)``. Subclass it for other ops.

    Attributes:
        packed: The names of the tensors with one row per token, with concatenated sequences.
        overwrites: The tensors that a kernel may overwrite with its result.
        spoils: The tensors whose NaN and infinite values must appear in the result.
        enlarged: The tensors that are scaled to tiny and huge values.
        sizes: The factors of that scaling, in float32.
        widths: The row sizes to test, including sizes that are not multiples of a SIMD vector.
        ops: Other ops whose kernels are used by the kernels of this op.
    """

    packed: ClassVar[tuple[str, ...]] = ("x",)
    overwrites: ClassVar[tuple[str, ...]] = ()
    spoils: ClassVar[tuple[str, ...]] = ("x",)
    enlarged: ClassVar[tuple[str, ...]] = ("x",)
    sizes: ClassVar[tuple[float, ...]] = (1e-6, 1e4)
    widths: ClassVar[tuple[int, ...]] = (1, 7, 16, 33, 64, 100, 384)
    ops: ClassVar[tuple[str, ...]] = ()

    def with_parts(self, kernel: Kernel, parts: Mapping[str, Kernel]) -> Kernel:
        """Return the kernel in the form that ``call`` expects; override it if kernels are built from other kernels.

        Args:
            kernel: The kernel.
            parts: A kernel for each of ``ops``: the one that the kernel fuses, else the best one for its record.
        """
        del parts
        return kernel

    def settings(self) -> Sequence[OpOptions]:
        """Return the variants of the op to test: arguments that are not tensors, or that select the tensors."""
        return ({},)

    def required_features(self, setting: OpOptions) -> tuple[str, ...]:
        """Return the optional features of a setting; only kernels with these ``features`` are tested with it."""
        del setting
        return ()

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Return random tensors by name, in float32 on the CPU."""
        del setting
        return {"x": torch.randn(num_tokens, width, generator=generator)}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """Call the kernel with the tensors."""
        del lengths, setting
        output: Tensor = kernel(**tensors)
        return output

    def parts(self, result: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
        """Split the result into the parts of each sequence."""
        parts: Sequence[Tensor] = result.split(list(lengths))
        return parts
