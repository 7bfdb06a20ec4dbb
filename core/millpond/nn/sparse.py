"""Sparse vectors in poolers: sparse autoencoders, the limit on active dimensions, and the (id, weight) format."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from millpond.nn.batch import PoolingMetadata
from millpond.nn.pooler import Pooler
from millpond.types.params import PoolingParams

if TYPE_CHECKING:
    from millpond.context import PoolerContext

AS_TERMS, MOST = "as_terms", "max_active_dims"  # in ``extra_kwargs`` of a sequence's parameters


class SparseAutoEncoderPooling(Pooler):
    """Pools with another method and encodes the result with the checkpoint's sparse autoencoder.

    Only the largest ``max_active_dims`` features are kept, from ``extra_kwargs`` of the parameters or else from the
    checkpoint. With ``as_terms`` in ``extra_kwargs``, the result contains their ids and weights, [num_features, 2].
    Source: Wen et al., 2025, arXiv 2503.01776.
    """

    def __init__(self, ctx: "PoolerContext", method: Pooler) -> None:
        super().__init__(ctx)
        if ctx.post_pooling is None or ctx.post_pooling.sparse is None:
            message = "the context has no module that makes sparse vectors: see ctx.post_pooling"
            raise ValueError(message)
        self.method = method
        self.sparse_autoencoder = ctx.post_pooling.sparse
        self.max_active_dims = ctx.model.embedding.max_active_dims

    def check(self, params: PoolingParams) -> None:
        """Refuse parameters that the method refuses."""
        self.method.check(params)

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return self.method.pool(hidden_states, metadata)

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, features], or a list with [num_features, 2] for ``as_terms``."""
        pooled = self.pool(hidden_states, metadata)
        features = self.sparse_autoencoder(self._project(pooled if isinstance(pooled, Tensor) else torch.cat(pooled)))
        keep_largest(features, metadata.params, self.max_active_dims)
        return as_asked(self._finish_each(features, metadata.params), metadata.params)


def keep_largest(rows: Iterable[Tensor], params: Sequence[PoolingParams], most: int | None) -> None:
    """Set what is not among the largest values of a row to 0, in place.

    Args:
        rows: The weights of each sequence, [dim], none of them negative.
        params: Say how many are kept, in ``extra_kwargs``.
        most: How many where they do not; None for all.
    """
    for row, own in zip(rows, params, strict=True):
        kept = (own.extra_kwargs or {}).get(MOST) or most
        if isinstance(kept, int) and kept < len(row):
            largest = row.topk(kept)
            row.zero_()[largest.indices] = largest.values


def as_asked(rows: Tensor | list[Tensor], params: Sequence[PoolingParams]) -> Tensor | list[Tensor]:
    """The rows, those of the sequences that ask for it by ``as_terms`` as ids and weights."""
    asked = [bool((own.extra_kwargs or {}).get(AS_TERMS)) for own in params]
    if not any(asked):
        return rows
    return [terms_of(row) if terms else row for row, terms in zip(rows, asked, strict=True)]


def terms_of(weights: Tensor) -> Tensor:
    """The ids of what has a weight, and these: [dim] -> [num_terms, 2], float32; exact for ids up to 2 ** 24."""
    indices = weights.nonzero().squeeze(1)
    return torch.stack([indices.to(weights.dtype), weights[indices]], dim=1)
