"""The gated feed-forward network of a post-norm encoder layer (Shazeer, 2020, arXiv 2002.05202)."""

from torch import Tensor

from millpond.nn import WeightTransform
from millpond_models.layers.gated_feed_forward import GatedFeedForward


class GatedEncoderFeedForward(GatedFeedForward):
    """``down(activation(gate(x)) * up(x))``, leaving the bias of ``down`` to the following norm."""

    def forward(self, x: Tensor, *, add_bias: bool = False) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], without the bias of ``down``."""
        return super().forward(x, add_bias=add_bias)

    @property
    def last_bias(self) -> Tensor | None:
        """The bias of ``down``, which the following norm adds."""
        return self.down.bias


def up_and_gate(fused: str) -> WeightTransform:
    """Return the transform of a tensor that stacks the rows of ``up`` and of ``gate``.

    Args:
        fused: Pattern of its name; the first group precedes ``.up.weight`` and ``.gate.weight``.
    """
    return WeightTransform.split(fused, (r"\1.up.weight", r"\1.gate.weight"))
