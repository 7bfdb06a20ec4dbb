"""Attention with torch's FlashAttention for packed sequences: no padding, one launch, on NVIDIA GPUs in 16 bits."""

from typing import cast

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
        enable_gqa=query.shape[1] != key.shape[1],
        num_splits=1,  # otherwise the order of summation depends on the longest sequence of the batch
    )
    return cast("Tensor", attended).contiguous()  # a tuple is only returned with other arguments


def _contiguous_heads(x: Tensor) -> Tensor:
    return x if x.stride(2) == 1 else x.contiguous()
