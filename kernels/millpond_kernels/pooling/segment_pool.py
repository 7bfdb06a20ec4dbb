"""The op ``segment_pool``: sum, mean or maximum of the rows of each sequence, in float32."""

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
    """Return the sum, mean or maximum of each sequence's rows, in plain torch.

    Args:
        x: Concatenated sequences, [num_tokens, hidden].
        lengths: The number of rows of each sequence, at least 1, on the host.
        how: The reduction. With weights w, the sum is that of w * x, and the mean is this sum divided by the sum of w.
        weights: The weight of each row, [num_tokens]; None for equal weights. Not allowed with "max".

    Returns:
        [num_seqs, hidden], float32.

    Raises:
        ValueError: If the lengths do not match x, or weights are passed with "max".
    """
    offsets = offsets_of(lengths, x)
    refuse_weights(how, weights)
    if how == "max":
        return segment_max(x.float(), lengths)
    # x is used as an embedding table, and each sequence as a bag of its rows: torch's fastest segmented sum.
    rows = torch.arange(len(x), device=x.device)
    starts = torch.tensor(offsets[:-1], device=x.device)
    if weights is None:
        return embedding_bag(rows, x.float(), starts, mode=how)
    weights = weights.float()
    pooled = embedding_bag(rows, x.float(), starts, mode="sum", per_sample_weights=weights)
    return pooled if how == "sum" else pooled / embedding_bag(rows, weights.unsqueeze(1), starts, mode="sum")


def segment_pool_native(x: Tensor, lengths: Sequence[int], how: How, weights: Tensor | None = None) -> Tensor:
    """Like ``segment_pool_torch``, with compiled code in one pass, except for maxima."""
    if how == "max" or not are_floats(x) or not (weights is None or are_floats(weights)):
        return segment_pool_torch(x, lengths, how, weights)
    refuse_weights(how, weights)
    if weights is not None and len(weights) != len(x):
        message = f"segment_pool: got {len(weights)} weights for {len(x)} rows"
        raise ValueError(message)
    offsets_of(lengths, x)
    lengths_tensor = torch.tensor(lengths)
    pooled = torch.empty(len(lengths), x.size(1))
    _function()(
        x.data_ptr(),
        lengths_tensor.data_ptr(),
        None if weights is None else weights.data_ptr(),
        pooled.data_ptr(),
        len(lengths),
        x.size(1),
        how == "mean",
    )
    return pooled


def segment_pool_triton(x: Tensor, lengths: Sequence[int], how: How, weights: Tensor | None = None) -> Tensor:
    """Like ``segment_pool_torch``, with one kernel that reads x once, in the dtype of x."""
    from millpond_kernels.gpu.segment_pool import segment_pool  # noqa: PLC0415  needs Triton

    offsets = offsets_of(lengths, x)
    refuse_weights(how, weights)
    return segment_pool(x, offsets, how, weights)


def refuse_weights(how: How, weights: Tensor | None) -> None:
    """Check the reduction and its weights.

    Raises:
        ValueError: If weights are passed with "max", or if ``how`` is unknown.
    """
    if how not in ("sum", "mean", "max"):
        message = f"segment_pool: unknown reduction {how!r}. Available: 'sum', 'mean', 'max'"
        raise ValueError(message)
    if how == "max" and weights is not None:
        message = "segment_pool: weights are supported for 'sum' and 'mean', not for 'max'"
        raise ValueError(message)


@cache
def _function() -> Callable[..., None]:
    return function("millpond_segment_pool", *[POINTER] * 4, *[INT] * 3)
