"""The op ``linear`` with weights in bfloat16: x is rounded to bfloat16, products are added in float32."""

from typing import TYPE_CHECKING

import torch

from millpond_kernels.linear.compiled import CompiledLinear
from millpond_kernels.linear.in_torch import padded
from millpond_kernels.native import bf16_dot_products

if TYPE_CHECKING:
    from torch import Tensor

INPUT_MULTIPLE = 16  # panels are padded to a multiple of this number of inputs
INPUTS_PER_LANE = 2  # inputs that are adjacent in a panel


class LinearBf16Native(CompiledLinear):
    """A linear layer with compiled code that rounds the rows and multiplies in one call."""

    suffix = "_bf16"
    whole_panels = False

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        self.dot_products = bf16_dot_products()
        super().__init__(weight, bias)

    def lay_out(self, weight: "Tensor") -> "tuple[Tensor, None, None]":
        """[outputs, inputs] -> [outputs / panel, inputs / 2, panel, 2]."""
        whole = padded(weight.to(torch.bfloat16), self.panel, INPUT_MULTIPLE)
        panels = whole.unflatten(1, (-1, INPUTS_PER_LANE)).unflatten(0, (-1, self.panel)).transpose(1, 2)
        return panels.contiguous(), None, None
