"""The op ``gelu``: the exact GELU of ``x + bias``. Kernels may overwrite x."""

from functools import cache
from typing import TYPE_CHECKING

from torch.nn import functional

from millpond.nn import op_threads
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import are_floats
from millpond_modeling import batch_invariant

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def gelu_torch(x: "Tensor", bias: "Tensor") -> "Tensor":
    """[rows, columns] and [columns] -> [rows, columns], in plain torch."""
    return functional.gelu(x + bias)


def gelu_erf(x: "Tensor", bias: "Tensor") -> "Tensor":
    """Like ``gelu_torch``, with functions whose rounding does not depend on the address of a value."""
    return batch_invariant.gelu(x + bias)


def gelu_native(x: "Tensor", bias: "Tensor") -> "Tensor":
    """[rows, columns] and [columns] -> [rows, columns], with compiled code, in place."""
    columns = x.size(-1)
    if not are_floats(x, bias) or bias.shape != (columns,):
        return gelu_torch(x, bias)
    _function()(x.data_ptr(), bias.data_ptr(), x.numel() // columns, columns, op_threads.count())
    return x


@cache
def _function() -> "Callable[..., None]":
    return function("millpond_bias_gelu", POINTER, POINTER, INT, INT, INT)
