"""Sparse vectors in poolers: the maximum number of active dimensions, and ids with weights."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from millpond.types.params import PoolingParams
from millpond_modeling.pooler_options import SparseOptions


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
