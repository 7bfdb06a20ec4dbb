"""Attention with torch's FlashAttention for packed sequences: no padding, one launch, on NVIDIA GPUs in 16 bits."""

from functools import cache

import torch
from torch import Tensor

from millpond.nn import AttentionSpec, PackedBatch
from millpond_kernels.attention.sdpa import attention as attention_sdpa

HEAD_DIM_MULTIPLE, MAX_HEAD_DIM = 8, 256  # of FlashAttention
NO_WINDOW = -1


def attention(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, spec: AttentionSpec) -> Tensor:
    """The op ``attention``; see ``attention.reference`` for its arguments."""
    head_dim = query.shape[2]
    if head_dim % HEAD_DIM_MULTIPLE or head_dim > MAX_HEAD_DIM:
        return attention_sdpa(query, key, value, batch, spec)
    window = NO_WINDOW if spec.window is None else spec.window
    attended = _flash_attention(
        _contiguous_heads(query),
        _contiguous_heads(key),
        _contiguous_heads(value),
        batch.cu_seqlens,
        batch.max_length,
        scale=spec.scale,
        window=(window, 0 if spec.causal else window),
    )
    return attended.contiguous()


def _flash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    max_length: int,
    *,
    scale: float,
    window: tuple[int, int],
) -> Tensor:
    """Return the attention of each sequence to itself; each key is shared by query heads // key heads.

    ``torch.nn.attention.varlen`` calls the same op, but has windows only from torch 2.12 on, and takes longer to call.

    Args:
        query: [num_tokens, heads, head_dim], with adjacent values of a head.
        key: [num_tokens, key heads, head_dim].
        value: Like ``key``.
        cu_seqlens: The offsets of the sequences, int32, on the device.
        max_length: The number of tokens of the longest sequence.
        scale: The factor of the dot products.
        window: The number of tokens before and after itself that a token attends to; -1 for all.
    """
    # Otherwise the order of summation depends on the longest sequence of the batch.
    options = {"num_splits": 1} if "num_splits" in _argument_names() else {}
    attended: Tensor = torch.ops.aten._flash_attention_forward(  # noqa: SLF001  see above
        query,
        key,
        value,
        cu_seqlens,
        cu_seqlens,
        max_length,
        max_length,
        0.0,  # the probability of dropout
        window == (NO_WINDOW, 0),
        return_debug_mask=False,
        scale=scale,
        window_size_left=window[0],
        window_size_right=window[1],
        **options,
    )[0]
    return attended


@cache
def _argument_names() -> frozenset[str]:
    """Return the names of the op's arguments: older versions of torch have fewer."""
    schema = torch.ops.aten._flash_attention_forward.default._schema  # noqa: SLF001
    return frozenset(argument.name for argument in schema.arguments)


def _contiguous_heads(x: Tensor) -> Tensor:
    return x if x.stride(2) == 1 else x.contiguous()
