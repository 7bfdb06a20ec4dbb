"""The gated feed-forward half of a post-norm encoder layer (Shazeer, 2020, arXiv 2002.05202)."""

from torch import Tensor

from millpond.context import Context
from millpond.nn import Linear
from millpond_models.layers.gated_feed_forward import GatedFeedForward


class GatedEncoderFeedForward(GatedFeedForward):
    """``down(activation(gate(x)) * up(x))``, where ``down`` may have a bias that the others lack."""

    def __init__(
        self, ctx: Context, *, size: int, inner_size: int, activation: str, bias: bool, down_bias: bool
    ) -> None:
        super().__init__(ctx, size=size, inner_size=inner_size, activation=activation, bias=bias)
        self.down = Linear(ctx, inner_size, size, bias=down_bias)

    def forward(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], the bias of ``down`` not yet added."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        result: Tensor = self.down(self.activation(gate) * up, add_bias=False)
        return result

    @property
    def last_bias(self) -> Tensor | None:
        """The bias of ``down``, which is left to the norm behind this."""
        return self.down.bias
