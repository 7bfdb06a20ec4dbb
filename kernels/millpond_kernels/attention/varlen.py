"""Attention by torch's FlashAttention over sequences end to end: no padding, one launch, on NVIDIA GPUs in 16 bits."""

from typing import cast

from torch import Tensor

from millpond.nn import AttentionSpec, PackedBatch
from millpond_kernels.attention.sdpa import attention as attention_sdpa

STEP, WIDEST = 8, 256  # FlashAttention takes heads of a multiple of the one, up to the other
UNBOUNDED = -1


def attention(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, spec: AttentionSpec) -> Tensor:
    """The op ``attention``; see ``attention.reference`` for its arguments."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  only some versions of torch have it

    head_dim = query.shape[2]
    if head_dim % STEP or head_dim > WIDEST:
        return attention_sdpa(query, key, value, batch, spec)
    window = UNBOUNDED if spec.window is None else spec.window
    attended = varlen_attn(
        _lined_up(query),
        _lined_up(key),
        _lined_up(value),
        batch.cu_seqlens,
        batch.cu_seqlens,
        batch.max_length,
        batch.max_length,
        scale=spec.scale,
        window_size=(window, 0 if spec.causal else window),
        enable_gqa=query.shape[1] != key.shape[1],
        num_splits=1,  # else the longest batch mate decides in which order a sequence is summed
    )
    return cast("Tensor", attended).contiguous()  # it gives a pair only to who asks for more


def _lined_up(x: Tensor) -> Tensor:
    return x if x.stride(2) == 1 else x.contiguous()
