"""Attention by torch's scaled_dot_product_attention: without padding on runs of equal length, else padded inside."""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from millpond.nn import AttentionSpec, PackedBatch, Run
from millpond_kernels.attention_reference import allowed

MOST_LAUNCHES = 16  # on an accelerator, more runs than these cost more to launch than padding costs to compute


def attention(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, spec: AttentionSpec) -> Tensor:
    """The op ``attention``; see ``attention_reference`` for its arguments."""
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    if query.device.type == "cpu" or len(batch.runs) <= MOST_LAUNCHES:
        for run in batch.runs:
            output[run.start : run.stop] = attend_run(query, key, value, run, spec)
        return output
    return _attend_padded(query, key, value, batch, spec)


def attend_run(query: Tensor, key: Tensor, value: Tensor, run: Run, spec: AttentionSpec) -> Tensor:
    """Attention of sequences of one length: [count * length, heads, head_dim] of the run's rows."""
    q, k, v = (
        x[run.start : run.stop].unflatten(0, (run.count, run.length)).transpose(1, 2) for x in (query, key, value)
    )
    mask = None if spec.window is None or spec.window >= run.length else allowed(run.length, spec, query.device)
    attended = scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        is_causal=spec.causal and mask is None,
        scale=spec.scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended.transpose(1, 2).flatten(0, 1)


def _attend_padded(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, spec: AttentionSpec) -> Tensor:
    longest = batch.max_length
    lengths = batch.cu_seqlens.diff()
    real = torch.arange(longest, device=query.device).unsqueeze(0) < lengths.unsqueeze(1)
    q, k, v = (_pad(x, real).transpose(1, 2) for x in (query, key, value))
    mask = real[:, None, None, :] & allowed(longest, spec, query.device)
    # A padded query would attend to nothing and give NaN, which a later sum would spread.
    mask = mask | ~real[:, None, :, None]
    attended = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, scale=spec.scale, enable_gqa=query.shape[1] != key.shape[1]
    )
    return attended.transpose(1, 2)[real]


def _pad(x: Tensor, real: Tensor) -> Tensor:
    padded = x.new_zeros((*real.shape, *x.shape[1:]))
    padded[real] = x
    return padded
