"""Pooling methods, which select or reduce the hidden states of each sequence. Sums are computed in float32."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from millpond.context import PoolerContext
from millpond.nn import Pooler, PoolingMetadata, to_device

if TYPE_CHECKING:
    from collections.abc import Callable


class FirstTokenPooling(Pooler):
    """CLS: the hidden state of the first token."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return hidden_states[metadata.first]


class LastTokenPooling(Pooler):
    """LAST: the hidden state of the last token, which may be a special token."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return hidden_states[metadata.last]


class SegmentPooling(Pooler):
    """Base class of methods that reduce the rows of each sequence to one row, with the op ``segment_pool``."""

    def __init__(self, ctx: PoolerContext) -> None:
        super().__init__(ctx)
        self.reduce: Callable[..., Tensor] = ctx.op("segment_pool")


class MeanPooling(SegmentPooling):
    """MEAN: the mean of all tokens, including special tokens."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return self.reduce(hidden_states, metadata.lengths, "mean")


class MeanSqrtLenPooling(SegmentPooling):
    """MEAN_SQRT_LEN: the sum of all tokens, divided by the square root of their number."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        lengths = to_device(torch.tensor(metadata.lengths, dtype=torch.float32), hidden_states.device)
        return self.reduce(hidden_states, metadata.lengths, "sum") / lengths.sqrt().unsqueeze(1)


class WeightedMeanPooling(SegmentPooling):
    """WEIGHTED_MEAN: the mean of all tokens, weighted by their positions from 1 (SGPT, arXiv 2202.08904).

    If only a part of a prompt is pooled, the positions are those in the whole prompt.
    """

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        starts = metadata.starts or (0,) * len(metadata.lengths)
        positions = torch.cat(
            [
                torch.arange(start + 1.0, start + length + 1)
                for start, length in zip(starts, metadata.lengths, strict=True)
            ]
        )
        return self.reduce(hidden_states, metadata.lengths, "mean", to_device(positions, hidden_states.device))


class MaxPooling(SegmentPooling):
    """MAX: the maximum of each dimension over all tokens."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return self.reduce(hidden_states, metadata.lengths, "max")


class AllTokens(Pooler):
    """ALL: the hidden state of every token."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden] -> num_seqs tensors [length, hidden]."""
        return list(hidden_states.split(list(metadata.lengths)))
