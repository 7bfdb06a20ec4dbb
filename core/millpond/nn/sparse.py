"""Sparse vectors in poolers: sparse autoencoders, the maximum number of active dimensions, ids with weights."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from millpond.nn.batch import PoolingMetadata
from millpond.nn.pooler import Pooler
from millpond.types.params import PoolingParams
from millpond.types.pooler_options import SparseOptions

if TYPE_CHECKING:
    from millpond.context import PoolerContext


class SparseAutoEncoderPooling(Pooler):
    """Pools with another method and encodes the result with the checkpoint's sparse autoencoder.

    The ``SparseOptions`` of a sequence select the format of its result and the number of features that are kept.
    Source: Wen et al., 2025, arXiv 2503.01776.
    """

    def __init__(self, ctx: "PoolerContext", method: Pooler) -> None:
        super().__init__(ctx)
        if ctx.post_pooling is None or ctx.post_pooling.sparse is None:
            message = "ctx.post_pooling has no module that returns sparse vectors"
            raise ValueError(message)
        self.method = method
        self.sparse_autoencoder = ctx.post_pooling.sparse
        self.max_active_dims = ctx.model.embedding.max_active_dims

    def check(self, params: PoolingParams) -> None:
        """Check the parameters with the pooling method."""
        self.method.check(params)

    def pool(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, hidden]."""
        return self.method.pool(hidden_states, metadata)

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> Tensor | list[Tensor]:
        """[num_tokens, hidden] -> [num_seqs, features], or a list with [num_terms, 2] for ``as_terms``."""
        pooled = self.pool(hidden_states, metadata)
        features = self.sparse_autoencoder(self._project(pooled if isinstance(pooled, Tensor) else torch.cat(pooled)))
        keep_largest(features, metadata.params, self.max_active_dims)
        return as_requested(self._finish_each(features, metadata.params), metadata.params)


def keep_largest(rows: Iterable[Tensor], params: Sequence[PoolingParams], max_active_dims: int | None) -> None:
    """Keep only the largest weights of each sequence, and set all others to 0, in place.

    Args:
        rows: The weights of each sequence, [dim], not negative.
        params: The parameters of each sequence, with ``SparseOptions``.
        max_active_dims: The default number of weights to keep; None for all.
    """
    for row, sequence in zip(rows, params, strict=True):
        limit = SparseOptions.read(sequence).max_active_dims or max_active_dims
        if limit is not None and limit < len(row):
            largest = row.topk(limit)
            row.zero_()[largest.indices] = largest.values


def as_requested(rows: Tensor | list[Tensor], params: Sequence[PoolingParams]) -> Tensor | list[Tensor]:
    """Return the rows, with the ids and weights of the terms for sequences whose ``SparseOptions`` request them."""
    as_terms = [SparseOptions.read(sequence).as_terms for sequence in params]
    if not any(as_terms):
        return rows
    chosen = [row for row, terms in zip(rows, as_terms, strict=True) if terms]
    same_size = len({len(row) for row in chosen}) == 1
    converted = terms_of(torch.stack(chosen)) if same_size else [terms_of(row.unsqueeze(0))[0] for row in chosen]
    terms_of_each = iter(converted)
    return [next(terms_of_each) if terms else row for row, terms in zip(rows, as_terms, strict=True)]


def terms_of(weights: Tensor) -> list[Tensor]:
    """Return the ids and values of each row's nonzero weights; exact for ids up to 2**24.

    Their number is unknown to the host: it waits for the device, once for all rows.

    Args:
        weights: [num_rows, dim].

    Returns:
        num_rows tensors [num_terms, 2], float32.
    """
    rows, indices = weights.nonzero(as_tuple=True)
    pairs = torch.stack([indices.to(weights.dtype), weights[rows, indices]], dim=1)
    return list(pairs.split((weights != 0).sum(dim=1).tolist()))
