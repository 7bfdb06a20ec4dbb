"""The op ``linear`` by compiled code, in float32: the weights lie in panels that the vector units take as they are."""

from functools import cache, partial
from typing import TYPE_CHECKING

import torch

from millpond.nn.threads import op_threads
from millpond_kernels.encoder_layer import encoder_layer
from millpond_kernels.gated import ACTIVATIONS, gated_native
from millpond_kernels.linear import padded
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import rows_of_floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from millpond.nn.encoder_layer import EncoderLayerParts, WholeLayer


class LinearNative:
    """A linear map; see ``LinearTorch`` for its arguments."""

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        self.outputs, self.inputs = weight.shape
        self.multiply, panel = _functions()
        # Laid out as [outputs / panel, inputs, panel].
        self.panels = padded(weight.float(), panel).unflatten(0, (-1, panel)).transpose(1, 2).contiguous()
        self.bias = None if bias is None else padded(bias.float(), panel)

    def __call__(self, x: "Tensor", *, add_bias: bool = True) -> "Tensor":
        """[rows, inputs] -> [rows, outputs]; without ``add_bias`` the bias is left to the op that follows."""
        x = rows_of_floats(x, self.inputs)
        rows = x.size(0)
        output = torch.empty(rows, self.outputs)
        bias = self.bias.data_ptr() if add_bias and self.bias is not None else None
        self.multiply(
            x.data_ptr(),
            self.panels.data_ptr(),
            bias,
            output.data_ptr(),
            rows,
            self.inputs,
            self.outputs,
            op_threads(),
        )
        return output

    def after_gate(self, first: object, gated: object, activation: str) -> "Callable[..., Tensor] | None":
        """[rows, inputs of ``first``] -> [rows, outputs]: ``first``, the gate and this map, in one go.

        What lies between the two maps stays in the processor's cache. What this gives is called as a map is. None if
        the others are not compiled code that this can be joined with, or its inputs are no whole panels.
        """
        if not isinstance(first, LinearNative) or gated is not gated_native or activation not in ACTIVATIONS:
            return None
        panel = self.panels.size(-1)
        if first.outputs != 2 * self.inputs or self.inputs % panel:
            return None
        return partial(_gated_feed_forward, first, self, ACTIVATIONS.index(activation))

    def encoder_layer(self, parts: "EncoderLayerParts") -> "WholeLayer | None":
        """A layer of which this is the last map, in one go; None if its parts are not all compiled code like this."""
        return encoder_layer(LinearNative, parts, int8=False)


def _gated_feed_forward(
    gate_up: LinearNative, down: LinearNative, activation: int, x: "Tensor", *, add_bias: bool = True
) -> "Tensor":
    x = rows_of_floats(x, gate_up.inputs)
    rows = x.size(0)
    output = torch.empty(rows, down.outputs)
    compute, scratch_size = _functions_of_two()
    scratch = torch.empty(scratch_size(down.inputs), dtype=torch.uint8)
    compute(
        x.data_ptr(),
        gate_up.panels.data_ptr(),
        None if gate_up.bias is None else gate_up.bias.data_ptr(),
        down.panels.data_ptr(),
        down.bias.data_ptr() if add_bias and down.bias is not None else None,
        output.data_ptr(),
        rows,
        gate_up.inputs,
        down.inputs,
        down.outputs,
        activation,
        scratch.data_ptr(),
        op_threads(),
    )
    return output


@cache
def _functions_of_two() -> "tuple[Callable[..., None], Callable[[int], int]]":
    compute = function("millpond_gated_feed_forward", *[POINTER] * 6, *[INT] * 5, POINTER, INT)
    return compute, function("millpond_gated_feed_forward_scratch", INT, returns=INT)


@cache
def _functions() -> "tuple[Callable[..., None], int]":
    multiply = function("millpond_linear", *[POINTER] * 4, *[INT] * 4)
    panel: int = function("millpond_linear_panel", returns=INT)()
    return multiply, panel
