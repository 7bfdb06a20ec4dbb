"""The op ``linear`` in 8-bit integers: symmetric weights per output, dynamically quantized rows, no calibration.

A row of x is ``scale * (q - zero)`` with q and zero from 0 to 255; a weight is ``scale * q`` with q from -127 to 127.
The sums of products are exact integers. (Jacob et al., 2018, arXiv 1712.05877.) On processors without VNNI, products
are summed in 16 bits first, which limits the weights further, except on ARM.
"""

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from millpond_kernels.linear.compiled import CompiledLinear
from millpond_kernels.linear.in_torch import padded
from millpond_kernels.native import int8_dot_products, limits_int8_weights

if TYPE_CHECKING:
    from torch import Tensor

MAX_ROW_VALUE = 255
MAX_WEIGHT = 127
SIGN_OFFSET = 128  # the difference between unsigned and signed bytes
INPUT_MULTIPLE = 16  # of the compiled code and of torch's product
INPUTS_PER_LANE = 4  # inputs that are adjacent in a panel
BLOCK_PRODUCTS = 2  # `dot_products` of panels for products of two rows and two outputs, with 8 adjacent inputs
# Without VNNI, four products share a 16-bit sum: 255 * 128 < 2**15.
MAX_WEIGHT_SUM = 128
MAX_ROUNDING = INPUTS_PER_LANE // 2  # the maximum that rounding adds to the sum of four weights


def quantize_weight(weight: "Tensor") -> "tuple[Tensor, Tensor]":
    """[outputs, inputs] -> int8 [outputs, inputs], and the scale of each output, [outputs], float32."""
    weight = weight.float()
    scales = torch.maximum(weight.amax(1), -weight.amin(1)) / MAX_WEIGHT
    return _rounded(weight, scales), scales


def quantize_weight_for_16_bits(weight: "Tensor") -> "tuple[Tensor, Tensor]":
    """Like ``quantize_weight``, for products that are added in 16 bits, four at a time.

    The positive weights of each group of four add up to at most 128, the negative weights to at least -128. Outliers
    are rarely in the same group, so quantization steps are smaller than with weights limited to -64 ... 63.
    """
    weight = weight.float()
    groups = _groups(weight)
    largest = torch.maximum(groups.clamp(min=0).sum(-1), -groups.clamp(max=0).sum(-1)).amax((1, 2))
    scales = largest / (MAX_WEIGHT_SUM - MAX_ROUNDING)
    return _rounded(weight, scales), scales


def _rounded(weight: "Tensor", scales: "Tensor") -> "Tensor":
    """Return weights [outputs, inputs] in steps of the scale of their output, int8; in one copy besides the result."""
    steps = torch.where(scales > 0, scales, 1).unsqueeze(1)
    return (weight / steps).round_().to(torch.int8)


def _groups(weight: "Tensor") -> "Tensor":
    """[outputs, inputs] -> [outputs, inputs / 8, 2, 4]: the weights whose products share 16 bits (see int8_tile.h)."""
    pairs: Tensor = pad(weight, (0, -weight.shape[1] % (2 * INPUTS_PER_LANE))).unflatten(1, (-1, 2, 2, 2))
    return pairs.transpose(2, 3).flatten(3)


def quantize_rows(x: "Tensor") -> "tuple[Tensor, Tensor, Tensor]":
    """[rows, inputs] -> q from 0 to 255 as float32, the scales [rows, 1], and the zeros [rows, 1].

    The scale of a row with NaN or infinity is NaN.
    """
    x = x.float()
    highest, lowest = x.amax(1, keepdim=True).clamp(min=0), x.amin(1, keepdim=True).clamp(max=0)
    scales = (highest - lowest) / MAX_ROW_VALUE
    scales = torch.where(scales.isfinite(), scales, torch.nan)
    inverse = torch.where(scales > 0, 1 / scales, 0)
    zeros = (-lowest * inverse).round().nan_to_num()
    return (x * inverse + zeros).round().clamp(0, MAX_ROW_VALUE).nan_to_num(), scales, zeros


class LinearInt8Torch:
    """A linear layer with torch's integer product (oneDNN's on a CPU); see ``LinearTorch`` for its arguments."""

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        quantized, self.scales = quantize_weight(weight)
        self.padding = -weight.shape[1] % INPUT_MULTIPLE
        # torch's product is wrong for few inputs: strides do not define the order of a matrix with one column.
        self.weight = pad(quantized, (0, self.padding)).t()
        self.sums = quantized.sum(1, dtype=torch.int32)
        self.bias = bias

    def __call__(self, x: "Tensor", *, add_bias: bool = True) -> "Tensor":
        """[rows, inputs] -> [rows, outputs]; ``add_bias=False`` leaves out the bias."""
        q, scales, zeros = quantize_rows(x)
        signed = pad((q - SIGN_OFFSET).to(torch.int8), (0, self.padding))
        sums = torch._int_mm(signed, self.weight)  # noqa: SLF001  # pyright: ignore[reportPrivateImportUsage]  torch has no public name for it
        exact = sums - (zeros - SIGN_OFFSET).int() * self.sums
        output = (exact * (scales * self.scales)).to(x.dtype)
        return output + self.bias if add_bias and self.bias is not None else output


class LinearInt8Native(CompiledLinear):
    """A linear layer with compiled code that quantizes, multiplies and scales in one call."""

    suffix = "_int8"
    whole_panels = False

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        self.dot_products = int8_dot_products()
        super().__init__(weight, bias)

    def lay_out(self, weight: "Tensor") -> "tuple[Tensor, Tensor, Tensor]":
        """[outputs, inputs] -> [outputs / panel, inputs / n, panel, n], and the scales and sums of the outputs."""
        quantize = quantize_weight_for_16_bits if limits_int8_weights() else quantize_weight
        quantized, scales = quantize(weight)
        adjacent = INPUTS_PER_LANE * (2 if self.dot_products == BLOCK_PRODUCTS else 1)
        whole = padded(quantized, self.panel, INPUT_MULTIPLE)
        panels = whole.unflatten(1, (-1, adjacent)).unflatten(0, (-1, self.panel)).transpose(1, 2).contiguous()
        return panels, padded(scales, self.panel), padded(quantized.sum(1, dtype=torch.int32), self.panel)
