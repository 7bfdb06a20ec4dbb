"""The feed-forward half of an encoder layer, and the activations that config.json may name in ``hidden_act``."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import Tensor, nn
from torch.nn import functional

from millpond.context import Context
from millpond.errors import CheckpointError
from millpond.nn import Linear

HIDDEN_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "gelu": functional.gelu,
        "gelu_new": partial(functional.gelu, approximate="tanh"),
        "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
        "relu": functional.relu,
        "silu": functional.silu,
        "swish": functional.silu,
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
    """``down(activation(up(x)))``."""

    def __init__(self, ctx: Context, *, size: int, inner_size: int, activation: str) -> None:
        super().__init__()
        self.up = Linear(ctx, size, inner_size)
        self.down = Linear(ctx, inner_size, size)
        self.activation = hidden_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]."""
        result: Tensor = self.down(self.activation(self.up(x)))
        return result
