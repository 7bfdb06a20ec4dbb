"""The op ``rms_norm``: rows divided by their root mean square (Zhang and Sennrich, 2019, arXiv 1910.07467)."""

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from millpond.nn import op_threads
from millpond_kernels.native import FLOAT, INT, POINTER, function
from millpond_kernels.native.tensors import are_floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def rms_norm_torch(x: "Tensor", weight: "Tensor", eps: float) -> "Tensor":
    """[..., columns] and [columns] -> [..., columns], in plain torch."""
    return functional.rms_norm(x, weight.shape, weight, eps)


def rms_norm_native(x: "Tensor", weight: "Tensor", eps: float) -> "Tensor":
    """[..., columns] and [columns] -> [..., columns] with compiled code."""
    columns = x.size(-1)
    if not are_floats(x, weight) or weight.shape != (columns,):
        return rms_norm_torch(x, weight, eps)
    output = torch.empty_like(x)
    rows = x.numel() // columns
    _function()(x.data_ptr(), weight.data_ptr(), eps, output.data_ptr(), rows, columns, op_threads.count())
    return output


@cache
def _function() -> "Callable[..., None]":
    return function("millpond_rms_norm", POINTER, POINTER, FLOAT, POINTER, INT, INT, INT)
