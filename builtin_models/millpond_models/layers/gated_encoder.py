"""The gated feed-forward half of a post-norm encoder layer (Shazeer, 2020, arXiv 2002.05202)."""

from torch import Tensor

from millpond.nn import WeightTransform
from millpond_models.layers.gated_feed_forward import GatedFeedForward


class GatedEncoderFeedForward(GatedFeedForward):
    """``down(activation(gate(x)) * up(x))``, which leaves the bias of ``down`` to the norm behind it."""

    def forward(self, x: Tensor, *, add_bias: bool = False) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], the bias of ``down`` not yet added."""
        return super().forward(x, add_bias=add_bias)

    @property
    def last_bias(self) -> Tensor | None:
        """The bias of ``down``, which is left to the norm behind this."""
        return self.down.bias


def up_and_gate(fused: str) -> WeightTransform:
    """The transform of a tensor that holds the rows of ``up`` and, after them, those of ``gate``.

    Args:
        fused: The pattern of its name; the first group comes before ``.up.weight`` and ``.gate.weight``.
    """
    return WeightTransform.split(fused, (r"\1.up.weight", r"\1.gate.weight"))
