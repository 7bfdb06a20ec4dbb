"""Activation functions by their names in config.json, such as ``hidden_act``."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import Tensor
from torch.nn import functional

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_modeling import batch_invariant

Activation = Callable[[Tensor], Tensor]


def quick_gelu(x: Tensor) -> Tensor:
    """GELU approximated by a sigmoid, as in CLIP (Hendrycks and Gimpel, 2016, arXiv 1606.08415)."""
    return x * (1.702 * x).sigmoid()


# transformers has several names for one function, one for each implementation.
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "gelu_python": "gelu",
        **dict.fromkeys(
            ("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"), "gelu_tanh"
        ),
        "swish": "silu",
    }
)
FUNCTIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "gelu": functional.gelu,
        "gelu_tanh": partial(functional.gelu, approximate="tanh"),
        "leaky_relu": functional.leaky_relu,
        "mish": functional.mish,
        "quick_gelu": quick_gelu,
        "relu": functional.relu,
        "relu6": functional.relu6,
        "sigmoid": functional.sigmoid,
        "silu": functional.silu,
        "tanh": functional.tanh,
    }
)
BATCH_INVARIANT: Mapping[str, Activation] = MappingProxyType(
    {
        "gelu": batch_invariant.gelu,
        "gelu_tanh": batch_invariant.gelu_tanh,
        "mish": batch_invariant.mish,
        "quick_gelu": batch_invariant.quick_gelu,
        "sigmoid": batch_invariant.sigmoid,
        "silu": batch_invariant.silu,
    }
)


def function_name(name: str) -> str:
    """Return the canonical name of an activation function, as used in ``FUNCTIONS`` and by the op ``gated``.

    Raises:
        CheckpointError: If the function is unknown.
    """
    canonical = SYNONYMS.get(name, name) if isinstance(name, str) else name
    if not isinstance(canonical, str) or canonical not in FUNCTIONS:
        known = ", ".join(sorted({*FUNCTIONS, *SYNONYMS}))
        message = f"config.json: unknown hidden_act {name!r}. Available: {known}"
        raise CheckpointError(message)
    return canonical


def hidden_activation(ctx: Context, name: str) -> Activation:
    """Return the activation function with the given name; the exact GELU uses the op ``gelu``.

    Raises:
        CheckpointError: If the function is unknown.
    """
    canonical = function_name(name)
    if canonical == "gelu":
        kernel = ctx.op("gelu")
        return lambda x: kernel(x.contiguous(), x.new_zeros(x.shape[-1]))
    return BATCH_INVARIANT.get(canonical, FUNCTIONS[canonical]) if ctx.compute.batch_invariant else FUNCTIONS[canonical]
