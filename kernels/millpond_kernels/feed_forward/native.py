"""The ops ``feed_forward`` and ``gated_feed_forward`` in one call of compiled code.

The intermediate values stay in the processor's cache.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from millpond.nn import op_threads
from millpond_kernels.feed_forward.gated import ACTIVATIONS
from millpond_kernels.feed_forward.reference import FeedForwardReference, GatedFeedForwardReference
from millpond_kernels.linear.bf16 import LinearBf16Native
from millpond_kernels.linear.compiled import compiled_linears
from millpond_kernels.linear.int8 import LinearInt8Native
from millpond_kernels.linear.native import LinearNative
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import rows_of_floats

if TYPE_CHECKING:
    from torch import Tensor

    from millpond_kernels.linear.compiled import CompiledLinear


class FeedForwardNative(FeedForwardReference):
    """A feed-forward block in one call; ``FeedForwardReference`` runs if the compiled code does not support it.

    Attributes:
        kind: The kernel of ``linear`` that prepared the weights.
        linears: The two compiled linear layers; None if the compiled code does not support them.
    """

    kind: "ClassVar[type[CompiledLinear]]"
    linears: "tuple[CompiledLinear, ...] | None" = None

    def __init__(self, **parts: Any) -> None:
        """Accept the arguments of ``FeedForwardReference``."""
        super().__init__(**parts)
        linears = compiled_linears(self.kind, self.up, self.down)
        if linears is not None and linears[0].outputs == linears[1].inputs:
            self.linears = linears
            self.compute, scratch_size = _feed_forward_functions(self.kind.suffix)
            self.scratch_size = scratch_size(linears[0].address)

    def __call__(self, x: "Tensor") -> "Tensor":
        """[num_tokens, size] -> [num_tokens, size], without the bias of ``down``."""
        if self.linears is None:
            return super().__call__(x)
        up, down = self.linears
        x = rows_of_floats(x, up.inputs)
        rows = x.size(0)
        output = torch.empty(rows, down.outputs)
        scratch = torch.empty(self.scratch_size, dtype=torch.uint8)
        self.compute(
            up.address, down.address, x.data_ptr(), output.data_ptr(), rows, scratch.data_ptr(), op_threads.count()
        )
        return output


class FeedForwardInt8Native(FeedForwardNative):
    """A feed-forward block with weights in 8-bit integers."""

    kind = LinearInt8Native


class FeedForwardBf16Native(FeedForwardNative):
    """A feed-forward block with weights in bfloat16."""

    kind = LinearBf16Native


class GatedFeedForwardNative(GatedFeedForwardReference):
    """A gated feed-forward block in one call; ``GatedFeedForwardReference`` runs if that is not supported.

    Attributes:
        kind: The kernel of ``linear`` that prepared the weights.
        linears: The two compiled linear layers; None if the compiled code does not support them.
    """

    kind: "ClassVar[type[CompiledLinear]]" = LinearNative
    linears: "tuple[CompiledLinear, ...] | None" = None

    def __init__(self, **parts: Any) -> None:
        """Accept the arguments of ``GatedFeedForwardReference``."""
        super().__init__(**parts)
        linears = compiled_linears(self.kind, self.gate_up, self.down)
        if linears is None or self.activation not in ACTIVATIONS:
            return
        gate_up, down = linears
        if gate_up.outputs != 2 * down.inputs or (self.kind.whole_panels and down.inputs % down.panel):
            return
        self.linears, self.activation_index = linears, ACTIVATIONS.index(self.activation)
        self.compute, scratch_size = _gated_functions(self.kind.suffix)
        self.scratch_size = scratch_size(gate_up.address)

    def __call__(self, x: "Tensor", *, add_bias: bool = True) -> "Tensor":
        """[num_tokens, size] -> [num_tokens, size]; ``add_bias=False`` leaves out the bias of ``down``."""
        if self.linears is None:
            return super().__call__(x, add_bias=add_bias)
        gate_up, down = self.linears
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
            self.activation_index,
            add_bias,
            scratch.data_ptr(),
            op_threads.count(),
        )
        return output


class GatedFeedForwardInt8Native(GatedFeedForwardNative):
    """A gated feed-forward block with weights in 8-bit integers."""

    kind = LinearInt8Native


class GatedFeedForwardBf16Native(GatedFeedForwardNative):
    """A gated feed-forward block with weights in bfloat16."""

    kind = LinearBf16Native


@cache
def _feed_forward_functions(suffix: str) -> tuple[Callable[..., None], Callable[[int], int]]:
    name = f"millpond_feed_forward{suffix}"
    return function(name, *[POINTER] * 4, INT, POINTER, INT), function(f"{name}_scratch", POINTER, returns=INT)


@cache
def _gated_functions(suffix: str) -> tuple[Callable[..., None], Callable[[int], int]]:
    name = f"millpond_gated_feed_forward{suffix}"
    compute = function(name, *[POINTER] * 4, *[INT] * 3, POINTER, INT)
    return compute, function(f"{name}_scratch", POINTER, returns=INT)
