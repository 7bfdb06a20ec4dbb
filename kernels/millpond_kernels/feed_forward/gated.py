"""The op ``gated``: the activation of the first half of each row, times the second half (Shazeer, 2020, 2002.05202)."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from millpond.nn import batch_invariant
from millpond.nn.threads import op_threads
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import are_floats

Activation = Callable[[Tensor], Tensor]


def gated_torch(x: Tensor, activation: str) -> Tensor:
    """``activation(gate) * up``, in plain torch.

    Args:
        x: Gate and, behind it, up: [rows, 2 * columns].
        activation: "gelu", "gelu_tanh", "quick_gelu", "relu" or "silu".

    Returns:
        [rows, columns].

    Raises:
        ValueError: If the activation is none of those.
    """
    return _gated(x, activation, PLAIN)


def gated_exp(x: Tensor, activation: str) -> Tensor:
    """The same of functions that torch rounds alike wherever a value lies; see ``gated_torch``."""
    return _gated(x, activation, BATCH_INVARIANT)


def gated_native(x: Tensor, activation: str) -> Tensor:
    """The same by compiled code; see ``gated_torch``."""
    columns = x.size(-1) // 2
    if not are_floats(x) or x.size(-1) % 2 or activation not in ACTIVATIONS:
        return gated_torch(x, activation)
    output = x.new_empty(*x.shape[:-1], columns)
    place = ACTIVATIONS.index(activation)
    _function()(x.data_ptr(), output.data_ptr(), x.numel() // x.size(-1), columns, place, op_threads())
    return output


def _gated(x: Tensor, activation: str, known: Mapping[str, Activation]) -> Tensor:
    if activation not in known or x.size(-1) % 2:
        message = (
            f"gated takes rows of two halves and one of the activations {', '.join(known)}; "
            f"got rows of {x.size(-1)} and {activation!r}"
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
ACTIVATIONS = tuple(PLAIN)  # in the order of the compiled code's numbers for them


@cache
def _function() -> Callable[..., None]:
    return function("millpond_gated", POINTER, POINTER, INT, INT, INT, INT)
