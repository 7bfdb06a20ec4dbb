"""The op ``linear`` in 8-bit integers: weights symmetric per output, rows quantised as they come, no calibration.

A row of x becomes ``scale * (q - zero)`` with q from 0 to 255 and zero an integer in that range; a weight becomes
``scale * q`` with q from -127 to 127. The sums of products are exact integers. (Jacob et al., 2018, arXiv 1712.05877.)
On processors without VNNI, products are summed in 16 bits first, which limits the weights further.
"""

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from millpond_kernels.linear.compiled import CompiledLinear
from millpond_kernels.linear.in_torch import padded
from millpond_kernels.native import int8_dot_products

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = 255  # of a row
LARGEST_WEIGHT = 127
MIDDLE = 128  # what turns an unsigned byte into a signed one
TOGETHER = 16  # inputs that the compiled code takes at once; four of them stand side by side in a panel
FOUR = 4
# Without VNNI, four products share 16 bits: 255 * 128 is the largest multiple of a row's largest byte below 2**15.
LARGEST_SUM = 128
HALF_STEPS = FOUR // 2  # what rounding may add to the sum of four


def quantise_weight(weight: "Tensor") -> "tuple[Tensor, Tensor]":
    """[outputs, inputs] -> int8 [outputs, inputs], and the scale of each output, [outputs], float32."""
    weight = weight.float()
    scales = weight.abs().amax(1) / LARGEST_WEIGHT
    steps = torch.where(scales > 0, scales, 1).unsqueeze(1)
    return (weight / steps).round().to(torch.int8), scales


def quantise_weight_for_16_bits(weight: "Tensor") -> "tuple[Tensor, Tensor]":
    """The same for products that are added in 16 bits, four at a time.

    In each such group the positive weights add up to at most 128, the negative ones to at least -128. Outliers seldom
    share a group, so a step is smaller than with weights from -64 to 63, each of which could be an outlier.
    """
    weight = weight.float()
    groups = _groups(weight)
    largest = torch.maximum(groups.clamp(min=0).sum(-1), -groups.clamp(max=0).sum(-1)).amax((1, 2))
    scales = largest / (LARGEST_SUM - HALF_STEPS)
    steps = torch.where(scales > 0, scales, 1).unsqueeze(1)
    return (weight / steps).round().to(torch.int8), scales


def _groups(weight: "Tensor") -> "Tensor":
    """[outputs, inputs] -> [outputs, inputs / 8, 2, 4]: the weights whose products share 16 bits (see int8_tile.h)."""
    eights: Tensor = pad(weight, (0, -weight.shape[1] % (2 * FOUR))).unflatten(1, (-1, 2, 2, 2))
    return eights.transpose(2, 3).flatten(3)


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


class LinearInt8Native(CompiledLinear):
    """A linear map by compiled code that quantises, multiplies and scales in one go."""

    suffix = "_int8"
    whole_panels = False

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        self.dot_products = int8_dot_products()
        super().__init__(weight, bias)

    def lay_out(self, weight: "Tensor") -> "tuple[Tensor, Tensor, Tensor]":
        """[outputs, inputs] -> [outputs / panel, inputs / 4, panel, 4], and the scales and sums of the outputs."""
        quantise = quantise_weight if self.dot_products else quantise_weight_for_16_bits
        quantised, scales = quantise(weight)
        whole = padded(padded(quantised, self.panel).t(), TOGETHER).t()
        panels = whole.unflatten(1, (-1, FOUR)).unflatten(0, (-1, self.panel)).transpose(1, 2).contiguous()
        return panels, padded(scales, self.panel), padded(quantised.sum(1, dtype=torch.int32), self.panel)
