"""The op ``linear`` of weights in 8-bit integers where no integer product is fast: they are turned back into floats."""

import logging
from functools import cache
from typing import TYPE_CHECKING

from millpond_kernels import native
from millpond_kernels.linear.in_torch import LinearTiles, LinearTorch
from millpond_kernels.linear.int8 import quantise_weight

if TYPE_CHECKING:
    import torch
    from torch import Tensor

logger = logging.getLogger(__name__)


class LinearDequantized(LinearTorch):
    """A linear map with the results of 8-bit weights at the speed of floats; see ``LinearTorch`` for its arguments."""

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        warn_of_dequantizing(weight.dtype)
        super().__init__(dequantized(weight), bias)


class LinearDequantizedTiles(LinearTiles):
    """The same, a row at a time, so that a result does not depend on the batch."""

    def __init__(self, weight: "Tensor", bias: "Tensor | None") -> None:
        warn_of_dequantizing(weight.dtype)
        super().__init__(dequantized(weight), bias)


def dequantized(weight: "Tensor") -> "Tensor":
    """[outputs, inputs], rounded to 8-bit integers with a scale for each output."""
    quantised, scales = quantise_weight(weight)
    return (quantised.float() * scales.unsqueeze(1)).to(weight.dtype)


@cache
def warn_of_dequantizing(dtype: "torch.dtype") -> None:
    """Warn, once for each dtype, that int8 gains no speed; not if a faster kernel runs here and this one was named."""
    name = str(dtype).removeprefix("torch.")
    compiled = native.availability() if name == "float32" else f"computes in float32, not in {name}"
    in_torch = native.torch_int8_availability()
    if True in (compiled, in_torch):
        return
    logger.warning(
        "quantization='int8': no fast kernel for 8-bit integers runs here (linear.int8_native %s; linear.int8_torch "
        "%s). The weights are rounded to 8 bits and computed in %s: results are those of int8 weights, the speed is "
        "that of %s. int8 is faster on x86-64 processors with AVX2, in float32, with Millpond's compiled kernels; "
        "`millpond plugins kernels` shows what runs here",
        compiled,
        in_torch,
        name,
        name,
    )
