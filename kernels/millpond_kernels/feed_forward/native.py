"""The ops ``feed_forward`` and ``gated_feed_forward`` in one call of compiled code.

The values between the two maps stay in the processor's cache.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from millpond.nn.threads import op_threads
from millpond_kernels.feed_forward.gated import ACTIVATIONS
from millpond_kernels.feed_forward.reference import FeedForwardReference, GatedFeedForwardReference
from millpond_kernels.linear.compiled import built_maps
from millpond_kernels.linear.int8 import LinearInt8Native
from millpond_kernels.linear.native import LinearNative
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import rows_of_floats

if TYPE_CHECKING:
    from torch import Tensor

    from millpond_kernels.linear.compiled import CompiledLinear


class FeedForwardInt8Native(FeedForwardReference):
    """Both maps and the GELU in one call; maps that do not fit are called one by one: see ``FeedForwardReference``.

    Attributes:
        maps: The two maps as compiled code knows them; None if they do not fit.
    """

    maps: "tuple[CompiledLinear, ...] | None" = None

    def __init__(self, **parts: Any) -> None:
        """Take the parts of ``FeedForwardReference``."""
        super().__init__(**parts)
        maps = built_maps(LinearInt8Native, self.up, self.down)
        if maps is not None and maps[0].outputs == maps[1].inputs:
            self.maps = maps
            self.compute, scratch_size = _feed_forward_functions()
            self.scratch_size = scratch_size(maps[0].address)

    def __call__(self, x: "Tensor") -> "Tensor":
        """[num_tokens, size] -> [num_tokens, size], the bias of ``down`` not yet added."""
        if self.maps is None:
            return super().__call__(x)
        up, down = self.maps
        x = rows_of_floats(x, up.inputs)
        rows = x.size(0)
        output = torch.empty(rows, down.outputs)
        scratch = torch.empty(self.scratch_size, dtype=torch.uint8)
        self.compute(up.address, down.address, x.data_ptr(), output.data_ptr(), rows, scratch.data_ptr(), op_threads())
        return output


class GatedFeedForwardNative(GatedFeedForwardReference):
    """Both maps and the gate in one call; what does not fit is called one by one: see ``GatedFeedForwardReference``.

    Attributes:
        kind: The kernel of ``linear`` that has laid out the weights.
        maps: The two maps as compiled code knows them; None if they do not fit.
    """

    kind: "ClassVar[type[CompiledLinear]]" = LinearNative
    maps: "tuple[CompiledLinear, ...] | None" = None

    def __init__(self, **parts: Any) -> None:
        """Take the parts of ``GatedFeedForwardReference``."""
        super().__init__(**parts)
        maps = built_maps(self.kind, self.gate_up, self.down)
        if maps is None or self.activation not in ACTIVATIONS:
            return
        gate_up, down = maps
        if gate_up.outputs != 2 * down.inputs or (self.kind.whole_panels and down.inputs % down.panel):
            return
        self.maps, self.place = maps, ACTIVATIONS.index(self.activation)
        self.compute, scratch_size = _gated_functions(self.kind.suffix)
        self.scratch_size = scratch_size(gate_up.address)

    def __call__(self, x: "Tensor", *, add_bias: bool = True) -> "Tensor":
        """[num_tokens, size] -> [num_tokens, size]; without ``add_bias`` the bias of ``down`` is not yet added."""
        if self.maps is None:
            return super().__call__(x, add_bias=add_bias)
        gate_up, down = self.maps
        x = rows_of_floats(x, gate_up.inputs)
        rows = x.size(0)
        output = torch.empty(rows, down.outputs)
        scratch = torch.empty(self.scratch_size, dtype=torch.uint8)
        self.compute(
            gate_up.address,
            down.address,
            x.data_ptr(),
            output.data_ptr(),
            rows,
            self.place,
            add_bias,
            scratch.data_ptr(),
            op_threads(),
        )
        return output


class GatedFeedForwardInt8Native(GatedFeedForwardNative):
    """The same with weights in 8-bit integers."""

    kind = LinearInt8Native


@cache
def _feed_forward_functions() -> tuple[Callable[..., None], Callable[[int], int]]:
    name = "millpond_feed_forward_int8"
    return function(name, *[POINTER] * 4, INT, POINTER, INT), function(f"{name}_scratch", POINTER, returns=INT)


@cache
def _gated_functions(suffix: str) -> tuple[Callable[..., None], Callable[[int], int]]:
    name = f"millpond_gated_feed_forward{suffix}"
    compute = function(name, *[POINTER] * 4, *[INT] * 3, POINTER, INT)
    return compute, function(f"{name}_scratch", POINTER, returns=INT)
