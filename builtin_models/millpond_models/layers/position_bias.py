"""Position biases of attention scores: T5's learned buckets and ALiBi."""

from math import log

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch
from millpond.types.errors import CheckpointError
from millpond_modeling.distance_bias import DistanceBias

NUM_BUCKETS = 32
MAX_DISTANCE = 128  # tokens; larger distances share the last bucket


class RelativePositionBias(nn.Module):
    """T5's relative position bias: one learned value per head and bucket (Raffel et al., 2019, arXiv 1910.10683).

    Attributes:
        weight: [buckets, heads].
    """

    def __init__(self, *, num_heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(NUM_BUCKETS, num_heads), requires_grad=False)

    def forward(self, batch: PackedBatch) -> DistanceBias:
        """Return the bias for the longest sequence of a batch."""
        rows = self.weight[buckets(distances(batch.max_length, self.weight.device))]
        return DistanceBias(rows.T.contiguous())


class Alibi(nn.Module):
    """Bidirectional ALiBi: ``-slope * |distance|`` with one slope per head (Press et al., 2021, arXiv 2108.12409)."""

    def __init__(self, ctx: Context, *, num_heads: int) -> None:
        super().__init__()
        # Not a buffer: models are built on the meta device, and a buffer would be created there.
        self.slopes = torch.tensor(slopes(num_heads), device="cpu").to(ctx.device).unsqueeze(1)

    def forward(self, batch: PackedBatch) -> DistanceBias:
        """Return the bias for the longest sequence of a batch."""
        return DistanceBias(-self.slopes * distances(batch.max_length, self.slopes.device).abs())


def distances(length: int, device: torch.device) -> Tensor:
    """Return the relative positions of keys to queries, from ``1 - length`` to ``length - 1``: [2 * length - 1]."""
    return torch.arange(1 - length, length, device=device)


def buckets(distance: Tensor) -> Tensor:
    """Return the bucket of each distance: half for each direction, one per distance up to 7, then log-spaced ones."""
    half, exact = NUM_BUCKETS // 2, NUM_BUCKETS // 4
    far = distance.abs()
    # Computed in float32 as in training: its rounding decides at the edges of the log-spaced buckets.
    wide = exact + ((far.float() / exact).log() / log(MAX_DISTANCE / exact) * (half - exact)).long()
    bucket = torch.where(far < exact, far, wide.clamp(max=half - 1))
    return bucket + half * (distance > 0)


def slopes(num_heads: int) -> list[float]:
    """Return the slopes of n heads: for a power of two, ``2 ** (-8 * i / n)`` for i from 1 to n.

    For other counts: the slopes of the next lower power of two, then every other slope of the next higher one.

    Raises:
        CheckpointError: If the number of heads is not positive.
    """
    if num_heads < 1:
        message = f"config.json: num_attention_heads must be positive; got {num_heads}"
        raise CheckpointError(message)
    lower = 1 << (num_heads.bit_length() - 1)
    lower_slopes = [2 ** (-8 * (i + 1) / lower) for i in range(lower)]
    return lower_slopes if lower == num_heads else lower_slopes + slopes(2 * lower)[::2][: num_heads - lower]
