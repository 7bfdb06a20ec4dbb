"""Pooling methods: which hidden states of a sequence become its result. Sums are in float32."""

import torch
from torch import Tensor

from millpond.nn import Pooler, PoolingMetadata


class FirstTokenPooling(Pooler):
    """CLS: the hidden state of the first token."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return hidden_states[metadata.first]


class LastTokenPooling(Pooler):
    """LAST: the hidden state of the last token, special tokens included."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return hidden_states[metadata.last]


class MeanPooling(Pooler):
    """MEAN: the sum of all tokens over their number, special tokens included."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return _reduce(hidden_states, metadata, "mean")


class MeanSqrtLenPooling(Pooler):
    """MEAN_SQRT_LEN: the sum of all tokens over the square root of their number."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        lengths = torch.tensor(metadata.lengths, device=hidden_states.device, dtype=torch.float32)
        return _reduce(hidden_states, metadata, "sum") / lengths.sqrt().unsqueeze(1)


class WeightedMeanPooling(Pooler):
    """WEIGHTED_MEAN: the mean of all tokens, each weighted by its place, counted from 1 (SGPT, arXiv 2202.08904)."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        places = torch.cat([torch.arange(1, length + 1) for length in metadata.lengths]).to(hidden_states.device)
        weights = places.float().unsqueeze(1)
        return _reduce(hidden_states.float() * weights, metadata, "sum") / _reduce(weights, metadata, "sum")


class MaxPooling(Pooler):
    """MAX: the largest value of each dimension over all tokens."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return _reduce(hidden_states, metadata, "max")


class AllTokens(Pooler):
    """ALL: the hidden state of every token."""

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden] -> num_seqs tensors [length, hidden]."""
        return list(hidden_states.split(list(metadata.lengths)))


def _reduce(rows: Tensor, metadata: PoolingMetadata, how: str) -> Tensor:
    lengths = torch.tensor(metadata.lengths, device=rows.device)
    return torch.segment_reduce(rows.float(), how, lengths=lengths, axis=0, unsafe=True)
