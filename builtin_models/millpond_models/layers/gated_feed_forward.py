"""The feed-forward half of a decoder layer, whose activation is a gate (Shazeer, 2020, arXiv 2002.05202)."""

from collections.abc import Callable, Mapping
from functools import cached_property
from math import pi, sqrt
from types import MappingProxyType

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear
from millpond_models.layers.feed_forward import hidden_activation


class GatedFeedForward(nn.Module):
    """``down(activation(gate(x)) * up(x))``, with one fused map for gate and up, through the op ``gated``.

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
        hidden_activation(activation)
        self.gate_up = Linear(ctx, size, inner_size, inner_size, bias=bias)
        self.down = Linear(ctx, inner_size, size, bias=bias if down_bias is None else down_bias)
        self.activation = OP_NAMES.get(activation, activation)
        self.gated = ctx.op("gated")

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


def gate_activation(ctx: Context, name: str) -> Callable[[Tensor], Tensor]:
    """The activation that config.json names; the exact GELU is that of the op ``gelu``.

    Raises:
        CheckpointError: If it is none of those known.
    """
    activation = hidden_activation(name)
    if name == "gelu":
        kernel = ctx.op("gelu")
        return lambda gate: kernel(gate.contiguous(), gate.new_zeros(gate.shape[-1]))
    return BATCH_INVARIANT.get(name, activation) if ctx.batch_invariant else activation


def silu(x: Tensor) -> Tensor:
    """``x / (1 + exp(-x))``, in float32."""
    full = x.float()
    return (full / full.neg().exp_().add_(1)).to(x.dtype)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its approximation with tanh (Hendrycks and Gimpel, 2016, arXiv 1606.08415), in float32."""
    full = x.float()
    bent = (full + 0.044715 * full * full * full).mul_(sqrt(2 / pi)).tanh_()
    return (0.5 * full * bent.add_(1)).to(x.dtype)


def quick_gelu(x: Tensor) -> Tensor:
    """``x / (1 + exp(-1.702 * x))``, in float32."""
    full = x.float()
    return (full / (-1.702 * full).exp_().add_(1)).to(x.dtype)


# What the op calls some of the activations that config.json may name; the others it calls the same.
OP_NAMES: Mapping[str, str] = MappingProxyType(
    {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "swish": "silu"}
)
# torch rounds its own differently at the end of the part of a tensor that a thread computes; exp and tanh it does not.
BATCH_INVARIANT: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "silu": silu,
        "swish": silu,
        "gelu_new": gelu_tanh,
        "gelu_pytorch_tanh": gelu_tanh,
        "quick_gelu": quick_gelu,
    }
)
