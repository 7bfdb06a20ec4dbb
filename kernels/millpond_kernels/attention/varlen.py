"""Attention with torch's FlashAttention for packed sequences: no padding, one launch, on NVIDIA GPUs in 16 bits."""

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any, cast

from torch import Tensor

from millpond.nn import AttentionSpec, PackedBatch
from millpond_kernels.attention.sdpa import attention as attention_sdpa

HEAD_DIM_MULTIPLE, MAX_HEAD_DIM = 8, 256  # of FlashAttention
NO_WINDOW = -1


def attention(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, spec: AttentionSpec) -> Tensor:
    """The op ``attention``; see ``attention.reference`` for its arguments."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  only some versions of torch have it

    head_dim = query.shape[2]
    if head_dim % HEAD_DIM_MULTIPLE or head_dim > MAX_HEAD_DIM:
        return attention_sdpa(query, key, value, batch, spec)
    window = NO_WINDOW if spec.window is None else spec.window
    heads_per_key = query.shape[1] // key.shape[1]
    options: dict[str, Any] = {"enable_gqa": heads_per_key > 1}
    # Otherwise the order of summation depends on the longest sequence of the batch.
    options["num_splits"] = 1
    parameters = _parameters(varlen_attn)
    if heads_per_key > 1 and "enable_gqa" not in parameters:
        key, value = (x.repeat_interleave(heads_per_key, dim=1) for x in (key, value))
    attended = varlen_attn(
        _contiguous_heads(query),
        _contiguous_heads(key),
        _contiguous_heads(value),
        batch.cu_seqlens,
        batch.cu_seqlens,
        batch.max_length,
        batch.max_length,
        scale=spec.scale,
        window_size=(window, 0 if spec.causal else window),
        **{name: option for name, option in options.items() if name in parameters},
    )
    return cast("Tensor", attended).contiguous()  # a tuple is only returned with other arguments


@cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names of a function's parameters: older versions of torch have fewer."""
    return frozenset(signature(function).parameters)


def _contiguous_heads(x: Tensor) -> Tensor:
    return x if x.stride(2) == 1 else x.contiguous()
