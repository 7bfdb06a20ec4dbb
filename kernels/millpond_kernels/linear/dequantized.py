"""The op ``linear`` with 8-bit weights converted back to floats, for processors without fast integer products."""

import logging
from functools import cache
from typing import TYPE_CHECKING

from millpond_kernels import native
from millpond_kernels.linear.in_torch import LinearTiles, LinearTorch
from millpond_kernels.linear.int8 import quantize_weight

if TYPE_CHECKING:
    import torch
    from torch import Tensor

logger = logging.getLogger(__name__)


class LinearDequantized(LinearTorch):
    """A linear layer with the results of 8-bit weights at the speed of floats; see ``LinearTorch`` for arguments."""

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        warn_of_dequantizing(weight.dtype)
        super().__init__(dequantized(weight), bias)


class LinearDequantizedTiles(LinearTiles):
    """Like ``LinearDequantized``, one row at a time, so that results do not depend on the batch."""

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        warn_of_dequantizing(weight.dtype)
        super().__init__(dequantized(weight), bias)


def dequantized(weight: "Tensor") -> "Tensor":
    """Return weights [outputs, inputs] rounded to 8-bit integers with one scale per output."""
    quantized, scales = quantize_weight(weight)
    return (quantized.float() * scales.unsqueeze(1)).to(weight.dtype)


@cache
def warn_of_dequantizing(dtype: "torch.dtype") -> None:
    """Warn once per dtype that int8 is not faster, unless a faster kernel is available and this one was selected."""
    name = str(dtype).removeprefix("torch.")
    compiled = native.availability() if name == "float32" else f"computes in float32, not in {name}"
    in_torch = native.torch_int8_availability()
    if True in (compiled, in_torch):
        return
    logger.warning(
        "quantization='int8': no fast kernel for 8-bit integers runs here (linear.int8_native %s; linear.int8_torch "
        "%s). The weights are rounded to 8 bits and computed in %s: results are those of int8 weights, the speed is "
        "that of %s. int8 is faster on x86-64 processors with AVX2 and on 64-bit ARM, in float32, with Millpond's "
        "compiled kernels; `millpond plugins kernels` shows what runs here",
        compiled,
        in_torch,
        name,
        name,
    )
