"""The op ``linear`` by compiled code, in float32: the weights lie in panels that the vector units take as they are."""

from typing import TYPE_CHECKING

from millpond_kernels.linear.compiled import CompiledLinear
from millpond_kernels.linear.in_torch import padded

if TYPE_CHECKING:
    from torch import Tensor


class LinearNative(CompiledLinear):
    """A linear map; see ``LinearTorch`` for its arguments."""

    suffix = ""
    whole_panels = True

    def lay_out(self, weight: "Tensor") -> "tuple[Tensor, None, None]":
        """[outputs, inputs] -> [outputs / panel, inputs, panel]."""
        panels = padded(weight.float(), self.panel).unflatten(0, (-1, self.panel))
        return panels.transpose(1, 2).contiguous(), None, None
