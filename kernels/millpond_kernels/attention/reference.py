"""Attention in plain float32 torch, one sequence at a time: the reference for the other kernels."""

import torch
from torch import Tensor

from millpond.nn import AttentionBias, AttentionSpec, EqualLengthGroup, PackedBatch

ALIGNMENT = 16  # floats: a cache line


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    batch: PackedBatch,
    spec: AttentionSpec,
    bias: AttentionBias | None = None,
) -> Tensor:
    """Softmax of scaled products, times the values, within each sequence; zeros for tokens that attend to no token.

    Args:
        query: [num_tokens, heads, head_dim].
        key: [num_tokens, kv_heads, head_dim]; heads // kv_heads consecutive query heads share a key head.
        value: [num_tokens, kv_heads, head_dim].
        batch: The sequences and their masked tokens.
        spec: Scale, causality, window, softcap and kind of bias.
        bias: The bias of scaled products before the softmax, if the spec has one.

    Returns:
        [num_tokens, heads, head_dim].
    """
    heads_per_key = query.shape[1] // key.shape[1]
    outputs: list[Tensor] = []
    for group in _sequences(batch):
        q = query[group.start : group.stop].float()
        if query.stride(0) % ALIGNMENT:  # torch's rounding depends on the address of a row: copies are aligned alike
            q = q.clone()
        k = key[group.start : group.start + group.num_attended].float().repeat_interleave(heads_per_key, dim=1)
        v = value[group.start : group.start + group.num_attended].float().repeat_interleave(heads_per_key, dim=1)
        scores = torch.einsum("qhd,khd->hqk", q, k) * spec.scale
        if spec.softcap is not None:
            scores = spec.softcap * torch.tanh(scores / spec.softcap)
        if bias is not None:
            scores = scores + bias(group, range(group.length), range(group.num_attended)).float()[0]
        mask = attention_mask(range(group.length), range(group.num_attended), spec, query.device)
        weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
        weights = weights.masked_fill(~mask.any(dim=1, keepdim=True), 0)
        outputs.append(torch.einsum("hqk,khd->qhd", weights, v))
    return torch.cat(outputs).to(query.dtype)


def attention_mask(queries: range, keys: range, spec: AttentionSpec, device: torch.device) -> Tensor:
    """Return a mask that is True where a query attends to a key, [queries, keys]; both are positions in a sequence."""
    positions = torch.arange(queries.start, queries.stop, device=device)
    distance = positions.unsqueeze(1) - torch.arange(keys.start, keys.stop, device=device)
    mask = torch.ones_like(distance, dtype=torch.bool)
    if spec.causal:
        mask &= distance >= 0
    if spec.window is not None:
        mask &= distance.abs() <= spec.window
    return mask


def _sequences(batch: PackedBatch) -> list[EqualLengthGroup]:
    return [
        EqualLengthGroup(group.start + i * group.length, 1, group.length, group.num_masked)
        for group in batch.equal_length_groups
        for i in range(group.count)
    ]
