"""What the compiled kernels of ``linear`` share: the weights are laid out once, and then known by their addresses."""

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import torch

from millpond.nn.threads import op_threads
from millpond_kernels.linear.in_torch import padded
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import address, rows_of_floats

if TYPE_CHECKING:
    from torch import Tensor


class Map(ctypes.Structure):
    """``struct map`` of ops.h."""

    _fields_: ClassVar = [
        *((name, POINTER) for name in ("panels", "scales", "sums", "bias")),
        *((name, INT) for name in ("inputs", "outputs", "dot_products")),
    ]


class CompiledLinear(ABC):
    """A linear map by compiled code; see ``LinearTorch`` for its arguments. Kernels differ in how the weights lie.

    Attributes:
        suffix: Of the names of the compiled functions.
        whole_panels: Whether a gate's outputs must fill panels.
        panel: Outputs that lie side by side.
        address: Of the map, for other compiled code.
        dot_products: True if the panels are of integers for VNNI.
    """

    suffix: ClassVar[str]
    whole_panels: ClassVar[bool]
    dot_products: bool = False

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        self.outputs, self.inputs = weight.shape
        self.compute, scratch_size = _functions(self.suffix)
        self.panel: int = function(f"millpond_linear{self.suffix}_panel", returns=INT)()
        self.bias = None if bias is None else padded(bias.float(), self.panel)
        self.weights = self.lay_out(weight)
        self.map = Map(*map(address, self.weights), address(self.bias), self.inputs, self.outputs, self.dot_products)
        self.address = ctypes.addressof(self.map)
        self.scratch_size = scratch_size(self.address)

    @abstractmethod
    def lay_out(self, weight: "Tensor") -> "tuple[Tensor, Tensor | None, Tensor | None]":
        """[outputs, inputs] -> the panels, and the scales and sums of the outputs if the panels are of integers."""

    def __call__(self, x: "Tensor", *, add_bias: bool = True) -> "Tensor":
        """[rows, inputs] -> [rows, outputs]; without ``add_bias`` the bias is left to the op that follows."""
        x = rows_of_floats(x, self.inputs)
        rows = x.size(0)
        output = torch.empty(rows, self.outputs)
        scratch = torch.empty(self.scratch_size, dtype=torch.uint8)
        self.compute(self.address, x.data_ptr(), output.data_ptr(), rows, add_bias, scratch.data_ptr(), op_threads())
        return output


def built_maps(kind: type[CompiledLinear], *linears: object) -> tuple[CompiledLinear, ...] | None:
    """The compiled maps of some ``Linear`` modules; None if one is not computed by that kernel.

    Args:
        kind: The kernel.
        linears: Modules, each with its kernel as ``map``.
    """
    maps = [getattr(linear, "map", None) for linear in linears]
    found = tuple(each for each in maps if isinstance(each, kind))
    return found if len(found) == len(linears) else None


@cache
def _functions(suffix: str) -> tuple[Callable[..., None], Callable[[int], int]]:
    """The compiled function of that suffix, and the one that returns how many bytes of memory it needs."""
    name = f"millpond_linear{suffix}"
    return function(name, *[POINTER] * 3, INT, INT, POINTER, INT), function(f"{name}_scratch", POINTER, returns=INT)
