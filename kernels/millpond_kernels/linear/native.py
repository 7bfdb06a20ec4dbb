"""The op ``linear`` with compiled code, in float32. Weights are stored in panels."""

from typing import TYPE_CHECKING

from millpond_kernels.linear.compiled import CompiledLinear
from millpond_kernels.linear.in_torch import padded

if TYPE_CHECKING:
    from torch import Tensor


class LinearNative(CompiledLinear):
    """A linear layer in float32; see ``LinearTorch`` for its arguments."""

    suffix = ""
    whole_panels = True

    def lay_out(self, weight: "Tensor") -> "tuple[Tensor, None, None]":
        """[outputs, inputs] -> [outputs / panel, inputs, panel]."""
        panels = padded(weight.float(), self.panel, 1).unflatten(0, (-1, self.panel))
        return panels.transpose(1, 2).contiguous(), None, None
