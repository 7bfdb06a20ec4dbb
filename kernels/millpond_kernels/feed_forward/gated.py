"""The op ``gated``: ``activation(gate) * up`` for rows with both (Shazeer, 2020, arXiv 2002.05202)."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from millpond.nn import op_threads
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import are_floats
from millpond_modeling import batch_invariant

Activation = Callable[[Tensor], Tensor]


def gated_torch(x: Tensor, activation: str) -> Tensor:
    """``activation(gate) * up``, in plain torch.

    Args:
        x: The gate followed by ``up``: [rows, 2 * columns].
        activation: "gelu", "gelu_tanh", "quick_gelu", "relu" or "silu".

    Returns:
        [rows, columns].

    Raises:
        ValueError: If the activation is unknown, or rows do not have two halves.
    """
    return _gated(x, activation, PLAIN)


def gated_exp(x: Tensor, activation: str) -> Tensor:
    """Like ``gated_torch``, with functions whose rounding does not depend on the address of a value."""
    return _gated(x, activation, BATCH_INVARIANT)


def gated_native(x: Tensor, activation: str) -> Tensor:
    """Like ``gated_torch``, with compiled code."""
    columns = x.size(-1) // 2
    if not are_floats(x) or x.size(-1) % 2 or activation not in ACTIVATIONS:
        return gated_torch(x, activation)
    output = x.new_empty(*x.shape[:-1], columns)
    activation_index = ACTIVATIONS.index(activation)
    _function()(x.data_ptr(), output.data_ptr(), x.numel() // x.size(-1), columns, activation_index, op_threads.count())
    return output


def _gated(x: Tensor, activation: str, known: Mapping[str, Activation]) -> Tensor:
    if activation not in known or x.size(-1) % 2:
        message = (
            f"gated needs rows of even size and one of the activations {', '.join(known)}; "
            f"got rows of size {x.size(-1)} and {activation!r}"
        )
        raise ValueError(message)
    gate, up = x.chunk(2, dim=-1)
    return known[activation](gate) * up


PLAIN: Mapping[str, Activation] = MappingProxyType(
    {
        "gelu": functional.gelu,
        "gelu_tanh": partial(functional.gelu, approximate="tanh"),
        "quick_gelu": lambda x: x * (1.702 * x).sigmoid(),
        "relu": torch.relu,
        "silu": functional.silu,
    }
)
BATCH_INVARIANT: Mapping[str, Activation] = MappingProxyType(
    {
        "gelu": batch_invariant.gelu,
        "gelu_tanh": batch_invariant.gelu_tanh,
        "quick_gelu": batch_invariant.quick_gelu,
        "relu": torch.relu,
        "silu": batch_invariant.silu,
    }
)
ACTIVATIONS = tuple(PLAIN)  # in the order of `enum activation` of gate.h


@cache
def _function() -> Callable[..., None]:
    return function("millpond_gated", POINTER, POINTER, INT, INT, INT, INT)
