"""The feed-forward network of an encoder layer."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond_models.layers.activations import function_name, hidden_activation


class FeedForward(nn.Module):
    """``down(activation(up(x)))``; by the op ``feed_forward`` if the activation is the exact GELU."""

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
        self.activation = hidden_activation(ctx, activation)
        self.ops = (ctx.op("feed_forward"), ctx.op("gelu")) if function_name(activation) == "gelu" else None

    def forward(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], without the bias of ``down``."""
        if self.kernel is not None:
            return self.kernel(x)
        result: Tensor = self.down(self.activation(self.up(x)), add_bias=False)
        return result

    @cached_property
    def kernel(self) -> Callable[[Tensor], Tensor] | None:
        """The kernel of the op ``feed_forward``, built after the weights are loaded; None for other activations."""
        if self.ops is None:
            return None
        feed_forward, gelu = self.ops
        kernel: Callable[[Tensor], Tensor] = feed_forward(up=self.up, down=self.down, gelu=gelu)
        return kernel

    @property
    def last_bias(self) -> Tensor | None:
        """The bias of ``down``, which the following norm adds."""
        return self.down.bias
