"""The activations that config.json may name, such as in ``hidden_act``, and how a model computes them."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import Tensor
from torch.nn import functional

from millpond.context import Context
from millpond.nn import batch_invariant
from millpond.types.errors import CheckpointError

Activation = Callable[[Tensor], Tensor]


def quick_gelu(x: Tensor) -> Tensor:
    """GELU by its approximation with a sigmoid (Hendrycks and Gimpel, 2016, arXiv 1606.08415), as in CLIP."""
    return x * (1.702 * x).sigmoid()


# Other names of one function: transformers tells apart how it is computed.
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
    """What the function that config.json names is called here, and by the op ``gated``.

    Raises:
        CheckpointError: If it is none of those known.
    """
    found = SYNONYMS.get(name, name) if isinstance(name, str) else name
    if not isinstance(found, str) or found not in FUNCTIONS:
        known = ", ".join(sorted({*FUNCTIONS, *SYNONYMS}))
        message = f"config.json asks for hidden_act {name!r}; known are {known}"
        raise CheckpointError(message)
    return found


def hidden_activation(ctx: Context, name: str) -> Activation:
    """The activation that config.json names; the exact GELU is that of the op ``gelu``.

    Raises:
        CheckpointError: If it is none of those known.
    """
    found = function_name(name)
    if found == "gelu":
        kernel = ctx.op("gelu")
        return lambda x: kernel(x.contiguous(), x.new_zeros(x.shape[-1]))
    return BATCH_INVARIANT.get(found, FUNCTIONS[found]) if ctx.batch_invariant else FUNCTIONS[found]
