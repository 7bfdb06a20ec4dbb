"""What the compiled kernels of ``linear`` share: the weights are laid out once, and then known by their addresses."""

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self, TypeGuard

import torch

from millpond.nn.threads import op_threads
from millpond_kernels.encoder_layer.native import encoder_layer
from millpond_kernels.feed_forward.gated import ACTIVATIONS, gated_native
from millpond_kernels.linear.in_torch import padded
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import address, rows_of_floats

if TYPE_CHECKING:
    from torch import Tensor

    from millpond.nn.encoder_layer import EncoderLayerParts, WholeLayer


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
        self.functions = functions(self.suffix)
        self.panel: int = function(f"millpond_linear{self.suffix}_panel", returns=INT)()
        self.bias = None if bias is None else padded(bias.float(), self.panel)
        self.weights = self.lay_out(weight)
        self.map = Map(*map(address, self.weights), address(self.bias), self.inputs, self.outputs, self.dot_products)
        self.address = ctypes.addressof(self.map)
        self.scratch_size = self.functions.linear_scratch(self.address)

    @abstractmethod
    def lay_out(self, weight: "Tensor") -> "tuple[Tensor, Tensor | None, Tensor | None]":
        """[outputs, inputs] -> the panels, and the scales and sums of the outputs if the panels are of integers."""

    def __call__(self, x: "Tensor", *, add_bias: bool = True) -> "Tensor":
        """[rows, inputs] -> [rows, outputs]; without ``add_bias`` the bias is left to the op that follows."""
        x = rows_of_floats(x, self.inputs)
        rows = x.size(0)
        output = torch.empty(rows, self.outputs)
        scratch = torch.empty(self.scratch_size, dtype=torch.uint8)
        self.functions.linear(
            self.address, x.data_ptr(), output.data_ptr(), rows, add_bias, scratch.data_ptr(), op_threads()
        )
        return output

    def after_gate(self, first: object, gated: object, activation: str) -> "Callable[..., Tensor] | None":
        """[rows, inputs of ``first``] -> [rows, outputs]: ``first``, the gate and this map, in one go.

        What lies between the two maps stays in the processor's cache. What this gives is called as a map is. None if
        the others are not compiled code that this can be joined with.
        """
        if not self.follows(first, 2 * self.inputs) or gated is not gated_native or activation not in ACTIVATIONS:
            return None
        if self.whole_panels and self.inputs % self.panel:
            return None
        return partial(_gated_feed_forward, first, self, ACTIVATIONS.index(activation))

    def follows(self, first: object, outputs: int) -> "TypeGuard[Self]":
        """Whether another map is compiled code of this kind, with so many outputs."""
        return type(first) is type(self) and first.outputs == outputs

    def encoder_layer(self, parts: "EncoderLayerParts") -> "WholeLayer | None":
        """A layer of which this is the last map, in one go; None if its parts are not all compiled code like this."""
        return encoder_layer(type(self), parts, self.suffix)


def _gated_feed_forward(
    gate_up: CompiledLinear, down: CompiledLinear, activation: int, x: "Tensor", *, add_bias: bool = True
) -> "Tensor":
    x = rows_of_floats(x, gate_up.inputs)
    rows = x.size(0)
    output = torch.empty(rows, down.outputs)
    scratch = torch.empty(down.functions.gated_scratch(gate_up.address), dtype=torch.uint8)
    down.functions.gated(
        gate_up.address,
        down.address,
        x.data_ptr(),
        output.data_ptr(),
        rows,
        activation,
        add_bias,
        scratch.data_ptr(),
        op_threads(),
    )
    return output


class Functions(NamedTuple):
    """The compiled functions of a kind; each ``scratch`` is how many bytes of memory the one before it needs."""

    linear: Callable[..., None]
    linear_scratch: Callable[[int], int]
    gated: Callable[..., None]
    gated_scratch: Callable[[int], int]


@cache
def functions(suffix: str) -> Functions:
    """Those whose names end so."""
    linear, gated = f"millpond_linear{suffix}", f"millpond_gated_feed_forward{suffix}"
    return Functions(
        function(linear, *[POINTER] * 3, INT, INT, POINTER, INT),
        function(f"{linear}_scratch", POINTER, returns=INT),
        function(gated, *[POINTER] * 4, *[INT] * 3, POINTER, INT),
        function(f"{gated}_scratch", POINTER, returns=INT),
    )
