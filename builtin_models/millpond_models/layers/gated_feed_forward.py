"""The gated feed-forward network of a decoder layer (Shazeer, 2020, arXiv 2002.05202)."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond_models.layers.activations import function_name, hidden_activation

GATED_OP_ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu")


class GatedFeedForward(nn.Module):
    """``down(activation(gate(x)) * up(x))``, with one fused projection for gate and up.

    Activations in ``GATED_OP_ACTIVATIONS`` are computed by the op ``gated_feed_forward``.
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
        self.ops = (ctx.op("gated_feed_forward"), ctx.op("gated")) if self.name in GATED_OP_ACTIVATIONS else None

    def forward(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]; without the bias of ``down`` unless ``add_bias``."""
        if self.kernel is not None:
            return self.kernel(x, add_bias=add_bias)
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        result: Tensor = self.down(self.activation(gate) * up, add_bias=add_bias)
        return result

    @cached_property
    def kernel(self) -> Callable[..., Tensor] | None:
        """The kernel of the op ``gated_feed_forward``, built after loading; None for other activations."""
        if self.ops is None:
            return None
        feed_forward, gated = self.ops
        kernel: Callable[..., Tensor] = feed_forward(
            gate_up=self.gate_up, down=self.down, gated=gated, activation=self.name
        )
        return kernel
