"""The op ``linear`` in 8-bit integers: weights symmetric per output, rows quantised as they come, no calibration.

A row of x becomes ``scale * (q - zero)`` with q from 0 to 255 and zero an integer in that range; a weight becomes
``scale * q`` with q from -127 to 127. The sums of products are exact integers. (Jacob et al., 2018, arXiv 1712.05877.)
"""

from functools import cache, partial
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from millpond.nn.threads import op_threads
from millpond_kernels.encoder_layer import encoder_layer
from millpond_kernels.gated import ACTIVATIONS, gated_native
from millpond_kernels.gelu import gelu_native
from millpond_kernels.linear import padded
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import rows_of_floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from millpond.nn.encoder_layer import EncoderLayerParts, WholeLayer

LEVELS = 255  # of a row
LARGEST_WEIGHT = 127
MIDDLE = 128  # what turns an unsigned byte into a signed one
TOGETHER = 16  # inputs that the compiled code takes at once; four of them stand side by side in a panel
FOUR = 4


def quantise_weight(weight: "Tensor") -> "tuple[Tensor, Tensor]":
    """[outputs, inputs] -> int8 [outputs, inputs], and the scale of each output, [outputs], float32."""
    weight = weight.float()
    scales = weight.abs().amax(1) / LARGEST_WEIGHT
    steps = torch.where(scales > 0, scales, 1).unsqueeze(1)
    return (weight / steps).round().to(torch.int8), scales


def quantise_rows(x: "Tensor") -> "tuple[Tensor, Tensor, Tensor]":
    """[rows, inputs] -> q from 0 to 255 as float32, the scales [rows, 1], and the zeros [rows, 1].

    A row with a NaN or an infinity gets the scale NaN.
    """
    x = x.float()
    highest, lowest = x.amax(1, keepdim=True).clamp(min=0), x.amin(1, keepdim=True).clamp(max=0)
    scales = (highest - lowest) / LEVELS
    scales = torch.where(scales.isfinite(), scales, torch.nan)
    inverse = torch.where(scales > 0, 1 / scales, 0)
    zeros = (-lowest * inverse).round().nan_to_num()
    return (x * inverse + zeros).round().clamp(0, LEVELS).nan_to_num(), scales, zeros


class LinearInt8Torch:
    """A linear map by torch's integer product (oneDNN's on a CPU); see ``LinearTorch`` for its arguments."""

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        quantised, self.scales = quantise_weight(weight)
        self.missing = -weight.shape[1] % TOGETHER
        # Of few inputs torch's product is wrong: a matrix of one column has no order that could be told by its strides.
        self.weight = pad(quantised, (0, self.missing)).t()
        self.sums = quantised.sum(1, dtype=torch.int32)
        self.bias = bias

    def __call__(self, x: "Tensor", *, add_bias: bool = True) -> "Tensor":
        """[rows, inputs] -> [rows, outputs]; without ``add_bias`` the bias is left to the op that follows."""
        q, scales, zeros = quantise_rows(x)
        signed = pad((q - MIDDLE).to(torch.int8), (0, self.missing))
        sums = torch._int_mm(signed, self.weight)  # noqa: SLF001  # pyright: ignore[reportPrivateImportUsage]  torch has no other name for it
        exact = sums - (zeros - MIDDLE).int() * self.sums
        output = (exact * (scales * self.scales)).to(x.dtype)
        return output + self.bias if add_bias and self.bias is not None else output


class LinearInt8Native:
    """A linear map by compiled code that quantises, multiplies and scales in one go."""

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        self.outputs, self.inputs = weight.shape
        self.multiply, scratch_size, panel = _functions()
        self.scratch_size = scratch_size(self.inputs)
        quantised, scales = quantise_weight(weight)
        self.scales = padded(scales, panel)
        self.sums = padded(quantised.sum(1, dtype=torch.int32), panel)
        self.bias = None if bias is None else padded(bias.float(), panel)
        whole = padded(padded(quantised, panel).t(), TOGETHER).t()
        # Laid out as [outputs / panel, inputs / 4, panel, 4].
        self.panels = whole.unflatten(1, (-1, FOUR)).unflatten(0, (-1, panel)).transpose(1, 2).contiguous()

    def __call__(self, x: "Tensor", *, add_bias: bool = True) -> "Tensor":
        """[rows, inputs] -> [rows, outputs]; without ``add_bias`` the bias is left to the op that follows."""
        x = rows_of_floats(x, self.inputs)
        rows = x.size(0)
        output = torch.empty(rows, self.outputs)
        bias = self.bias.data_ptr() if add_bias and self.bias is not None else None
        scratch = torch.empty(self.scratch_size, dtype=torch.uint8)
        self.multiply(
            x.data_ptr(),
            self.panels.data_ptr(),
            self.scales.data_ptr(),
            self.sums.data_ptr(),
            bias,
            output.data_ptr(),
            rows,
            self.inputs,
            self.outputs,
            scratch.data_ptr(),
            op_threads(),
        )
        return output

    def after_gelu(self, first: object, gelu: object) -> "Callable[[Tensor], Tensor] | None":
        """[rows, inputs of ``first``] -> [rows, outputs]: ``first``, the exact GELU and this map, in one go.

        What lies between the two maps stays in the processor's cache. The bias of this one is left to the op that
        follows. None if one of the others is not compiled code that this can be joined with.
        """
        if isinstance(first, LinearInt8Native) and first.outputs == self.inputs and gelu is gelu_native:
            return partial(_feed_forward, first, self)
        return None

    def after_gate(self, first: object, gated: object, activation: str) -> "Callable[..., Tensor] | None":
        """[rows, inputs of ``first``] -> [rows, outputs]: ``first``, the gate and this map; see ``LinearNative``."""
        if not isinstance(first, LinearInt8Native) or gated is not gated_native or activation not in ACTIVATIONS:
            return None
        if first.outputs != 2 * self.inputs:
            return None
        return partial(_gated_feed_forward, first, self, ACTIVATIONS.index(activation))

    def encoder_layer(self, parts: "EncoderLayerParts") -> "WholeLayer | None":
        """A layer of which this is the last map, in one go; None if its parts are not all compiled code like this."""
        return encoder_layer(LinearInt8Native, parts, int8=True)


def _feed_forward(up: LinearInt8Native, down: LinearInt8Native, x: "Tensor") -> "Tensor":
    x = rows_of_floats(x, up.inputs)
    rows = x.size(0)
    output = torch.empty(rows, down.outputs)
    multiply, scratch_size = _functions_of_two()
    scratch = torch.empty(scratch_size(up.inputs, up.outputs), dtype=torch.uint8)
    multiply(
        x.data_ptr(),
        up.panels.data_ptr(),
        up.scales.data_ptr(),
        up.sums.data_ptr(),
        None if up.bias is None else up.bias.data_ptr(),
        down.panels.data_ptr(),
        down.scales.data_ptr(),
        down.sums.data_ptr(),
        output.data_ptr(),
        rows,
        up.inputs,
        up.outputs,
        down.outputs,
        scratch.data_ptr(),
        op_threads(),
    )
    return output


def _gated_feed_forward(
    gate_up: LinearInt8Native, down: LinearInt8Native, activation: int, x: "Tensor", *, add_bias: bool = True
) -> "Tensor":
    x = rows_of_floats(x, gate_up.inputs)
    rows = x.size(0)
    output = torch.empty(rows, down.outputs)
    scratch = torch.empty(_functions_of_two()[1](gate_up.inputs, gate_up.outputs), dtype=torch.uint8)
    _gated_function()(
        x.data_ptr(),
        gate_up.panels.data_ptr(),
        gate_up.scales.data_ptr(),
        gate_up.sums.data_ptr(),
        None if gate_up.bias is None else gate_up.bias.data_ptr(),
        down.panels.data_ptr(),
        down.scales.data_ptr(),
        down.sums.data_ptr(),
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
def _functions_of_two() -> "tuple[Callable[..., None], Callable[[int, int], int]]":
    multiply = function("millpond_feed_forward_int8", *[POINTER] * 9, *[INT] * 4, POINTER, INT)
    return multiply, function("millpond_feed_forward_int8_scratch", INT, INT, returns=INT)


@cache
def _gated_function() -> "Callable[..., None]":
    return function("millpond_gated_feed_forward_int8", *[POINTER] * 10, *[INT] * 5, POINTER, INT)


@cache
def _functions() -> "tuple[Callable[..., None], Callable[[int], int], int]":
    multiply = function("millpond_linear_int8", *[POINTER] * 6, *[INT] * 3, POINTER, INT)
    return multiply, function("millpond_linear_int8_scratch", INT, returns=INT), _panel()


@cache
def _panel() -> int:
    panel: int = function("millpond_linear_int8_panel", returns=INT)()
    return panel
