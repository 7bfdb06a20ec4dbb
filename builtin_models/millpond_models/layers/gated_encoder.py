"""The gated feed-forward half of a post-norm encoder layer (Shazeer, 2020, arXiv 2002.05202)."""

import re
from collections.abc import Iterable, Iterator

from torch import Tensor

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


def apart(weights: Iterable[tuple[str, Tensor]], fused: re.Pattern[str]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a checkpoint, those that hold the rows of ``up`` and, behind them, of ``gate`` as two.

    Args:
        weights: The tensors by their names in the checkpoint.
        fused: The names of those; the first group is what stands before ``.up.weight`` and ``.gate.weight``.
    """
    for name, tensor in weights:
        match = fused.fullmatch(name)
        if match is None:
            yield name, tensor
            continue
        for part, own in zip(("up", "gate"), tensor.chunk(2), strict=True):
            yield f"{match[1]}.{part}.weight", own
