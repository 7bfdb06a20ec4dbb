"""The op ``rotary``: rotary position embeddings (Su et al., 2021, arXiv 2104.09864). Kernels may overwrite x."""

from functools import cache
from typing import TYPE_CHECKING

import torch

from millpond.nn import op_threads
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import are_floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def rotary_torch(x: "Tensor", cos: "Tensor", sin: "Tensor") -> "Tensor":
    """Rotate the first values of each head, value i of their first half with value i of the second, in plain torch.

    Args:
        x: [num_tokens, heads, head_dim].
        cos: The cosines of a token's angles, [num_tokens, 1, rotary_dim // 2]; later values of x are not changed.
        sin: The sines, of the same shape.

    Returns:
        [num_tokens, heads, head_dim].
    """
    rotary_dim = 2 * cos.shape[-1]
    first, second = x[..., :rotary_dim].chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin, x[..., rotary_dim:]), dim=-1)


def rotary_native(x: "Tensor", cos: "Tensor", sin: "Tensor") -> "Tensor":
    """Like ``rotary_torch``, with compiled code, in place."""
    tokens, heads, head_dim = x.shape
    half = cos.size(-1)
    aligned = cos.shape == sin.shape == (tokens, 1, half) and 2 * half <= head_dim
    if not (aligned and _has_rows(x) and are_floats(cos, sin)):
        return rotary_torch(x, cos, sin)
    strides = x.stride(0), x.stride(1)
    _function()(x.data_ptr(), cos.data_ptr(), sin.data_ptr(), tokens, heads, half, *strides, op_threads.count())
    return x


def _has_rows(x: "Tensor") -> bool:
    """Return True if the values of a head are adjacent, and heads and tokens do not overlap."""
    _, heads, head_dim = x.shape
    token, head, value = x.stride()
    disjoint = head >= head_dim and token >= (heads - 1) * head + head_dim
    return x.is_cpu and x.dtype is torch.float32 and value == 1 and disjoint


@cache
def _function() -> "Callable[..., None]":
    return function("millpond_rotary", *[POINTER] * 3, *[INT] * 6)
