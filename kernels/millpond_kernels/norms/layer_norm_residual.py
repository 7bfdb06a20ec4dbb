"""The op ``layer_norm_residual``: LayerNorm of ``x + bias + residual``. Kernels may overwrite x."""

from functools import cache
from typing import TYPE_CHECKING

from torch.nn import functional

from millpond.nn import op_threads
from millpond_kernels.native import FLOAT, INT, POINTER, function
from millpond_kernels.native.tensors import are_floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def layer_norm_residual_torch(
    x: "Tensor", bias: "Tensor", residual: "Tensor", weight: "Tensor", shift: "Tensor", eps: float
) -> "Tensor":
    """[rows, columns] twice and [columns] three times -> [rows, columns], in plain torch."""
    return functional.layer_norm(x + bias + residual, weight.shape, weight, shift, eps)


def layer_norm_residual_native(
    x: "Tensor", bias: "Tensor", residual: "Tensor", weight: "Tensor", shift: "Tensor", eps: float
) -> "Tensor":
    """[rows, columns] twice and [columns] three times -> [rows, columns], with compiled code, in place."""
    columns = x.size(-1)
    aligned = residual.shape == x.shape and bias.shape == weight.shape == shift.shape == (columns,)
    if not (aligned and are_floats(x, bias, residual, weight, shift)):
        return layer_norm_residual_torch(x, bias, residual, weight, shift, eps)
    _function()(
        x.data_ptr(),
        bias.data_ptr(),
        residual.data_ptr(),
        weight.data_ptr(),
        shift.data_ptr(),
        eps,
        x.numel() // columns,
        columns,
        op_threads.count(),
    )
    return x


def layer_norm_residual_triton(
    x: "Tensor", bias: "Tensor", residual: "Tensor", weight: "Tensor", shift: "Tensor", eps: float
) -> "Tensor":
    """[rows, columns] twice and [columns] three times -> [rows, columns], with one Triton kernel, in place."""
    from millpond_kernels.gpu.layer_norm_residual import fits, layer_norm_residual  # noqa: PLC0415  needs Triton

    if not fits(x, bias, residual, weight, shift):
        return layer_norm_residual_torch(x, bias, residual, weight, shift, eps)
    return layer_norm_residual(x, bias, residual, weight, shift, eps)


@cache
def _function() -> "Callable[..., None]":
    return function("millpond_residual_layer_norm", *[POINTER] * 5, FLOAT, INT, INT, INT)
