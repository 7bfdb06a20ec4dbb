"""The feed-forward half of a decoder layer, whose activation is a gate (Shazeer, 2020, arXiv 2002.05202)."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond_models.layers.activations import function_name, hidden_activation

OF_THE_OP = ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu")  # the activations of the op ``gated``


class GatedFeedForward(nn.Module):
    """``down(activation(gate(x)) * up(x))``, with one fused map for gate and up.

    With an activation of the op ``gated``, the op ``gated_feed_forward`` computes it.
    """

    def __init__(
        self,
        ctx: Context,
        *,
        size: int,
        inner_size: int,
        activation: str,
        bias: bool = False,
        down_bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.gate_up = Linear(ctx, size, inner_size, inner_size, bias=bias)
        self.down = Linear(ctx, inner_size, size, bias=bias if down_bias is None else down_bias)
        self.name, self.activation = function_name(activation), hidden_activation(ctx, activation)
        self.ops = (ctx.op("gated_feed_forward"), ctx.op("gated")) if self.name in OF_THE_OP else None

    def forward(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]; without ``add_bias`` the bias of ``down`` is not yet added."""
        if self.kernel is not None:
            return self.kernel(x, add_bias=add_bias)
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        result: Tensor = self.down(self.activation(gate) * up, add_bias=add_bias)
        return result

    @cached_property
    def kernel(self) -> Callable[..., Tensor] | None:
        """The kernel of ``gated_feed_forward``, built when the maps have their weights; None for other activations."""
        if self.ops is None:
            return None
        feed_forward, gated = self.ops
        kernel: Callable[..., Tensor] = feed_forward(
            gate_up=self.gate_up, down=self.down, gated=gated, activation=self.name
        )
        return kernel
