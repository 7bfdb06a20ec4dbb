"""The feed-forward half of a decoder layer, whose activation is a gate (Shazeer, 2020, arXiv 2002.05202)."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond_models.layers.activations import Activation, function_name, hidden_activation

OF_THE_OP = ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu")  # the activations of the op ``gated``


class Gate:
    """What the op ``gated`` does, by an activation that it does not know."""

    def __init__(self, activation: Activation) -> None:
        self.activation = activation

    def __call__(self, x: Tensor, _: str) -> Tensor:
        """Gate and, behind it, up, [num_tokens, 2 * columns] -> [num_tokens, columns]."""
        gate, up = x.chunk(2, dim=-1)
        return self.activation(gate) * up


class GatedFeedForward(nn.Module):
    """``down(activation(gate(x)) * up(x))``, with one fused map for gate and up, through the op ``gated`` if it has it.

    Kernels of ``linear`` that can compute both maps with the gate between them in one go do.
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
        self.activation = function_name(activation)
        self.gated = ctx.op("gated") if self.activation in OF_THE_OP else Gate(hidden_activation(ctx, activation))

    def forward(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]; without ``add_bias`` the bias of ``down`` is not yet added."""
        if self.in_one_go is not None:
            return self.in_one_go(x, add_bias=add_bias)
        result: Tensor = self.down(self.gated(self.gate_up(x), self.activation), add_bias=add_bias)
        return result

    @cached_property
    def in_one_go(self) -> Callable[..., Tensor] | None:
        """What computes all of this, if the kernels in use have such code; asked when they have the weights."""
        after_gate = getattr(self.down.map, "after_gate", None)
        return None if after_gate is None else after_gate(self.gate_up.map, self.gated, self.activation)
