"""The feed-forward half of an encoder layer, and the activations that config.json may name in ``hidden_act``."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from types import MappingProxyType

from torch import Tensor, nn
from torch.nn import functional

from millpond.context import Context
from millpond.errors import CheckpointError
from millpond.nn import Linear


def quick_gelu(x: Tensor) -> Tensor:
    """GELU by its approximation with a sigmoid (Hendrycks and Gimpel, 2016, arXiv 1606.08415), as in CLIP."""
    return x * (1.702 * x).sigmoid()


gelu_by_tanh = partial(functional.gelu, approximate="tanh")
EXACT_GELU = ("gelu", "gelu_python")
HIDDEN_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        **dict.fromkeys(EXACT_GELU, functional.gelu),
        **dict.fromkeys(
            ("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"), gelu_by_tanh
        ),
        "quick_gelu": quick_gelu,
        "relu": functional.relu,
        "relu6": functional.relu6,
        "leaky_relu": functional.leaky_relu,
        "mish": functional.mish,
        "sigmoid": functional.sigmoid,
        "silu": functional.silu,
        "swish": functional.silu,
        "tanh": functional.tanh,
    }
)


def hidden_activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation that config.json names.

    Raises:
        CheckpointError: If it is none of those known.
    """
    if name not in HIDDEN_ACTIVATIONS:
        message = f"config.json asks for hidden_act {name!r}; known are {', '.join(sorted(HIDDEN_ACTIVATIONS))}"
        raise CheckpointError(message)
    return HIDDEN_ACTIVATIONS[name]


class FeedForward(nn.Module):
    """``down(activation(up(x)))``; the exact GELU goes through the op ``gelu``, with the bias of ``up``.

    Kernels of ``linear`` that can compute two maps with a GELU between them in one go do.
    """

    def __init__(
        self,
        ctx: Context,
        *,
        size: int,
        inner_size: int,
        activation: str,
        bias: bool = True,
        down_bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.up = Linear(ctx, size, inner_size, bias=bias)
        self.down = Linear(ctx, inner_size, size, bias=bias if down_bias is None else down_bias)
        self.activation = hidden_activation(activation)
        self.fused = ctx.op("gelu") if activation in EXACT_GELU else None

    def forward(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], the bias of ``down`` not yet added."""
        if self.in_one_go is not None:
            return self.in_one_go(x)
        if self.fused is None:
            inner = self.activation(self.up(x))
        else:
            inner = self.up(x, add_bias=False)
            bias = inner.new_zeros(inner.shape[-1]) if self.up.bias is None else self.up.bias
            inner = self.fused(inner, bias)
        result: Tensor = self.down(inner, add_bias=False)
        return result

    @cached_property
    def in_one_go(self) -> Callable[[Tensor], Tensor] | None:
        """What computes all of this, if the kernels in use have such code; asked when they have the weights."""
        after_gelu = getattr(self.down.map, "after_gelu", None)
        return None if after_gelu is None else after_gelu(self.up.map, self.fused)

    @property
    def last_bias(self) -> Tensor | None:
        """The bias of ``down``, which is left to the norm behind this."""
        return self.down.bias
