"""What attention adds for the distance of two tokens: a learnt table of buckets, or slopes of each head."""

from math import log

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import DistanceBias, PackedBatch
from millpond.types.errors import CheckpointError

BUCKETS = 32
FARTHEST = 128  # tokens; beyond, all distances share the last bucket


class RelativeBuckets(nn.Module):
    """A learnt number for each head and bucket of distances (Raffel et al., 2019, arXiv 1910.10683).

    Attributes:
        weight: [buckets, heads].
    """

    def __init__(self, *, num_heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(BUCKETS, num_heads), requires_grad=False)

    def forward(self, batch: PackedBatch) -> DistanceBias:
        """The numbers for the longest text of a batch."""
        rows = self.weight[buckets(distances(batch.max_length, self.weight.device))]
        return DistanceBias(rows.T.contiguous())


class Alibi(nn.Module):
    """``-slope * |distance|`` in both directions, with a slope for each head (Press et al., 2021, arXiv 2108.12409)."""

    def __init__(self, ctx: Context, *, num_heads: int) -> None:
        super().__init__()
        # No buffer: that would be made on the meta device, on which models are built.
        self.slopes = torch.tensor(slopes(num_heads), device="cpu").to(ctx.device).unsqueeze(1)

    def forward(self, batch: PackedBatch) -> DistanceBias:
        """The numbers for the longest text of a batch."""
        return DistanceBias(-self.slopes * distances(batch.max_length, self.slopes.device).abs())


def distances(length: int, device: torch.device) -> Tensor:
    """How far behind a query a key may lie in a text, from ``1 - length`` up: [2 * length - 1]."""
    return torch.arange(1 - length, length, device=device)


def buckets(distance: Tensor) -> Tensor:
    """The bucket of each distance: of each direction half, one a distance up to 7, then logarithmically wider ones."""
    half, exact = BUCKETS // 2, BUCKETS // 4
    far = distance.abs()
    # Behind the first few, as in the training, whose rounding in float32 decides at the edges of buckets.
    wide = exact + ((far.float() / exact).log() / log(FARTHEST / exact) * (half - exact)).long()
    own = torch.where(far < exact, far, wide.clamp(max=half - 1))
    return own + half * (distance > 0)


def slopes(num_heads: int) -> list[float]:
    """The slopes of heads: powers from ``2 ** (-8 / n)`` down, n being the heads, a power of two.

    Of other counts: those of the next lower power of two, then every other one of the next higher.

    Raises:
        CheckpointError: If there are no heads.
    """
    if num_heads < 1:
        message = f"config.json: num_attention_heads must be positive; got {num_heads}"
        raise CheckpointError(message)
    lower = 1 << (num_heads.bit_length() - 1)
    found = [2 ** (-8 * (i + 1) / lower) for i in range(lower)]
    return found if lower == num_heads else found + slopes(2 * lower)[::2][: num_heads - lower]
