"""CompiledLinear: the base class of the compiled kernels of ``linear``."""

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import torch

from millpond.nn import op_threads
from millpond_kernels.linear.in_torch import padded
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import rows_of_floats

if TYPE_CHECKING:
    from torch import Tensor


class LinearWeights(ctypes.Structure):
    """``struct linear_weights`` of ops.h."""

    _fields_: ClassVar = [
        *((name, POINTER) for name in ("panels", "scales", "sums", "bias")),
        *((name, INT) for name in ("inputs", "outputs", "dot_products")),
    ]


class CompiledLinear(ABC):
    """A linear layer with compiled code; see ``LinearTorch`` for its arguments. Subclasses define the weight layout.

    Attributes:
        suffix: The suffix of the names of the compiled functions.
        whole_panels: True if the outputs of a gate must fill whole panels.
        panel: The number of outputs in a panel.
        address: The address of the ``LinearWeights``, for other compiled code.
        dot_products: The instructions that the weights are laid out for; see int8_tile.h and linear_bf16.c.
    """

    suffix: ClassVar[str]
    whole_panels: ClassVar[bool]
    dot_products: int = 0

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        self.outputs, self.inputs = weight.shape
        self.compute, scratch_size, self.panel = _functions(self.suffix)
        self.bias = None if bias is None else padded(bias.float(), self.panel).contiguous()
        self.weights = self.lay_out(weight)
        addresses = [None if it is None else it.data_ptr() for it in (*self.weights, self.bias)]
        self.struct = LinearWeights(*addresses, self.inputs, self.outputs, self.dot_products)
        self.address = ctypes.addressof(self.struct)
        self.scratch_size = scratch_size(self.address)

    @abstractmethod
    def lay_out(self, weight: "Tensor") -> "tuple[Tensor, Tensor | None, Tensor | None]":
        """[outputs, inputs] -> the panels, and the scales and sums of the outputs if the weights are integers."""

    def __call__(self, x: "Tensor", *, add_bias: bool = True) -> "Tensor":
        """[rows, inputs] -> [rows, outputs]; ``add_bias=False`` leaves out the bias."""
        x = rows_of_floats(x, self.inputs)
        rows = x.size(0)
        output = torch.empty(rows, self.outputs)
        scratch = torch.empty(self.scratch_size, dtype=torch.uint8)
        self.compute(
            self.address, x.data_ptr(), output.data_ptr(), rows, add_bias, scratch.data_ptr(), op_threads.count()
        )
        return output


def compiled_linears(kind: type[CompiledLinear], *linears: object) -> tuple[CompiledLinear, ...] | None:
    """Return the compiled kernels of ``Linear`` modules; None if one of them uses another kernel.

    Args:
        kind: The kernel.
        linears: Modules with their kernel in the attribute ``map``.
    """
    kernels = [getattr(linear, "map", None) for linear in linears]
    compiled = tuple(kernel for kernel in kernels if isinstance(kernel, kind))
    return compiled if len(compiled) == len(linears) else None


@cache
def _functions(suffix: str) -> tuple[Callable[..., None], Callable[[int], int], int]:
    """Return the compiled function with a suffix, that for the size of its scratch memory, and the size of a panel."""
    name = f"millpond_linear{suffix}"
    compute = function(name, *[POINTER] * 3, INT, INT, POINTER, INT)
    return compute, function(f"{name}_scratch", POINTER, returns=INT), function(f"{name}_panel", returns=INT)()
