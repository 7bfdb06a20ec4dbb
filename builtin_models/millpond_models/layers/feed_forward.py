"""The feed-forward half of an encoder layer."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond_models.layers.activations import function_name, hidden_activation


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
        self.activation = hidden_activation(ctx, activation)
        self.fused = ctx.op("gelu") if function_name(activation) == "gelu" else None

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
