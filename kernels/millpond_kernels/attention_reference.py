"""Attention in plain float32 torch, one sequence at a time: the yardstick of every other backend."""

import torch
from torch import Tensor

from millpond.nn import AttentionSpec, PackedBatch


def attention(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, spec: AttentionSpec) -> Tensor:
    """Softmax of scaled products, times the values, within each sequence.

    Args:
        query: [num_tokens, heads, head_dim].
        key: [num_tokens, kv_heads, head_dim]; each is shared by heads // kv_heads query heads in order.
        value: [num_tokens, kv_heads, head_dim].
        batch: Where the sequences lie.
        spec: Scale, causality and window.

    Returns:
        [num_tokens, heads, head_dim].
    """
    shared = query.shape[1] // key.shape[1]
    outputs: list[Tensor] = []
    for start, stop in zip(batch.offsets[:-1], batch.offsets[1:], strict=True):
        q = query[start:stop].float()
        k = key[start:stop].float().repeat_interleave(shared, dim=1)
        v = value[start:stop].float().repeat_interleave(shared, dim=1)
        scores = torch.einsum("qhd,khd->hqk", q, k) * spec.scale
        scores = scores.masked_fill(~allowed(stop - start, spec, query.device), -torch.inf)
        outputs.append(torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), v))
    return torch.cat(outputs).to(query.dtype)


def allowed(length: int, spec: AttentionSpec, device: torch.device) -> Tensor:
    """Which keys each query of a sequence attends to, [length, length], bool."""
    places = torch.arange(length, device=device)
    distance = places.unsqueeze(1) - places.unsqueeze(0)
    seen = torch.ones(length, length, dtype=torch.bool, device=device)
    if spec.causal:
        seen &= distance >= 0
    if spec.window is not None:
        seen &= distance.abs() <= spec.window
    return seen
