"""The op ``layer_norm_residual``: LayerNorm of ``x + bias + residual``. It may overwrite x."""

from functools import cache
from typing import TYPE_CHECKING

from torch.nn import functional

from millpond_kernels.native import FLOAT, INT, POINTER, function

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def layer_norm_residual_torch(
    x: "Tensor", bias: "Tensor", residual: "Tensor", weight: "Tensor", shift: "Tensor", eps: float
) -> "Tensor":
    """[rows, columns] twice and [columns] thrice -> [rows, columns], in plain torch."""
    return functional.layer_norm(x + bias + residual, weight.shape, weight, shift, eps)


def layer_norm_residual_native(
    x: "Tensor", bias: "Tensor", residual: "Tensor", weight: "Tensor", shift: "Tensor", eps: float
) -> "Tensor":
    """[rows, columns] twice and [columns] thrice -> [rows, columns], by compiled code, in place."""
    tensors = (x, bias, residual, weight, shift)
    if not all(tensor.is_contiguous() for tensor in tensors):
        return layer_norm_residual_torch(x, bias, residual, weight, shift, eps)
    _function()(*(tensor.data_ptr() for tensor in tensors), eps, x.numel() // x.shape[-1], x.shape[-1])
    return x


@cache
def _function() -> "Callable[..., None]":
    return function("millpond_residual_layer_norm", *[POINTER] * 5, FLOAT, INT, INT)
