"""The op ``segment_pool``: the rows of each sequence, reduced to one, in float32."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import are_floats
from millpond_kernels.pooling.segments import offsets_of, segment_max

How = Literal["sum", "mean", "max"]


def segment_pool_torch(x: Tensor, lengths: Sequence[int], how: How, weights: Tensor | None = None) -> Tensor:
    """The sum, the mean or the largest values of each sequence's rows, in plain torch.

    Args:
        x: Sequences end to end, [num_tokens, hidden].
        lengths: The rows of each sequence, at least one, on the host.
        how: What becomes of them. With weights w, the sum is of w * x, and the mean that sum over the sum of w.
        weights: What each row counts, [num_tokens]; None for all alike. Not together with "max".

    Returns:
        [num_seqs, hidden], float32.

    Raises:
        ValueError: If the lengths are not those of x, or weights are given for "max".
    """
    offsets = offsets_of(lengths, x)
    refuse_weights(how, weights)
    if how == "max":
        return segment_max(x.float(), lengths)
    # x as a table of embeddings of which each sequence takes its rows: torch's fastest sum over segments.
    rows = torch.arange(len(x), device=x.device)
    starts = torch.tensor(offsets[:-1], device=x.device)
    if weights is None:
        return embedding_bag(rows, x.float(), starts, mode=how)
    weights = weights.float()
    pooled = embedding_bag(rows, x.float(), starts, mode="sum", per_sample_weights=weights)
    return pooled if how == "sum" else pooled / embedding_bag(rows, weights.unsqueeze(1), starts, mode="sum")


def segment_pool_native(x: Tensor, lengths: Sequence[int], how: How, weights: Tensor | None = None) -> Tensor:
    """The same by compiled code, in one pass, but for the largest values; see ``segment_pool_torch``."""
    if how == "max" or not are_floats(x) or not (weights is None or are_floats(weights)):
        return segment_pool_torch(x, lengths, how, weights)
    refuse_weights(how, weights)
    if weights is not None and len(weights) != len(x):
        message = f"weights are [{len(weights)}], where x has {len(x)} rows"
        raise ValueError(message)
    offsets_of(lengths, x)
    on_host = torch.tensor(lengths)
    pooled = torch.empty(len(lengths), x.size(1))
    _function()(
        x.data_ptr(),
        on_host.data_ptr(),
        None if weights is None else weights.data_ptr(),
        pooled.data_ptr(),
        len(lengths),
        x.size(1),
        how == "mean",
    )
    return pooled


def segment_pool_triton(x: Tensor, lengths: Sequence[int], how: How, weights: Tensor | None = None) -> Tensor:
    """The same in one kernel, which reads x once and in its own dtype; see ``segment_pool_torch``."""
    from millpond_kernels.gpu.segment_pool import segment_pool  # noqa: PLC0415  needs Triton

    offsets = offsets_of(lengths, x)
    refuse_weights(how, weights)
    return segment_pool(x, offsets, how, weights)


def refuse_weights(how: How, weights: Tensor | None) -> None:
    """Refuse weights where they would mean nothing.

    Raises:
        ValueError: If there are weights, and the largest values are asked for; or if ``how`` is no way to reduce.
    """
    if how not in ("sum", "mean", "max"):
        message = f"segment_pool reduces by 'sum', 'mean' or 'max', not by {how!r}"
        raise ValueError(message)
    if how == "max" and weights is not None:
        message = "segment_pool takes weights for 'sum' and 'mean'; the largest values have none"
        raise ValueError(message)


@cache
def _function() -> Callable[..., None]:
    return function("millpond_segment_pool", *[POINTER] * 4, *[INT] * 3)
