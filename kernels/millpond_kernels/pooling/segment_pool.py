"""The op ``segment_pool``: sum, mean or maximum of the rows of each sequence, in float32; offsets of sequences."""

from array import array
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from millpond.nn import to_device
from millpond_kernels.native import INT, POINTER, function
from millpond_kernels.native.tensors import are_floats

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
    starts = to_device(torch.tensor(offsets[:-1]), x.device)
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
    _check_count(weights, x)
    offsets_of(lengths, x)
    lengths_array = array("q", lengths)  # 64-bit integers
    pooled = torch.empty(len(lengths), x.size(1))
    _function()(
        x.data_ptr(),
        lengths_array.buffer_info()[0],
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
    _check_count(weights, x)
    return segment_pool(x, offsets, how, weights)


def offsets_of(lengths: Sequence[int], rows: Tensor, name: str = "x") -> tuple[int, ...]:
    """Return the start of each sequence, followed by the end of the last.

    Args:
        lengths: The number of rows of each sequence.
        rows: The concatenated sequences, [num_rows, ...].
        name: The name of the tensor in errors.

    Raises:
        ValueError: If no sequence or an empty one is passed, or the lengths do not match the tensor.
    """
    offsets = tuple(accumulate(lengths, initial=0))
    if offsets[-1] != rows.size(0) or min(lengths, default=0) < 1:
        message = (
            f"lengths must be at least 1 and add up to the {len(rows)} rows of {name}; got {len(lengths)} lengths with "
            f"the sum {offsets[-1]} and the minimum {min(lengths, default=0)}"
        )
        raise ValueError(message)
    return offsets


def segment_max(rows: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the maximum of each column over the rows of each sequence: [num_rows, n] -> [num_seqs, n]; NaN is kept."""
    if len(lengths) == 1:
        return rows.amax(dim=0, keepdim=True)
    if rows.device.type == "cpu":  # ten times as fast on CPUs as segment_reduce, which saves launches on accelerators
        return torch.stack([part.amax(dim=0) for part in rows.split(list(lengths))])
    counts = to_device(torch.tensor(lengths), rows.device)
    return torch.segment_reduce(rows, "max", lengths=counts, axis=0, unsafe=True)


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


def _check_count(weights: Tensor | None, x: Tensor) -> None:
    """Check that compiled code reads only within the weights.

    Raises:
        ValueError: If there is not one weight for each row.
    """
    if weights is not None and len(weights) != len(x):
        message = f"segment_pool: got {len(weights)} weights for {len(x)} rows"
        raise ValueError(message)


@cache
def _function() -> Callable[..., None]:
    return function("millpond_segment_pool", *[POINTER] * 4, *[INT] * 3)
