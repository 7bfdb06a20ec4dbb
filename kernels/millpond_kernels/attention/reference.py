"""Attention in plain float32 torch, one sequence at a time: the yardstick of every other backend."""

import torch
from torch import Tensor

from millpond.nn import AttentionBias, AttentionSpec, EqualLengthGroup, PackedBatch

ALIGNMENT = 16  # floats: a line of the processor's cache


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    batch: PackedBatch,
    spec: AttentionSpec,
    bias: AttentionBias | None = None,
) -> Tensor:
    """Softmax of scaled products, times the values, within each sequence; zeros where a token may attend to none.

    Args:
        query: [num_tokens, heads, head_dim].
        key: [num_tokens, kv_heads, head_dim]; each is shared by heads // kv_heads query heads in order.
        value: [num_tokens, kv_heads, head_dim].
        batch: Where the sequences lie, and which of their tokens are hidden.
        spec: Scale, causality, window, softcap, and whether there is a bias.
        bias: What is added to the products before the softmax, where the spec says that there is one.

    Returns:
        [num_tokens, heads, head_dim].
    """
    shared = query.shape[1] // key.shape[1]
    outputs: list[Tensor] = []
    for group in _sequences(batch):
        q = query[group.start : group.stop].float()
        if query.stride(0) % ALIGNMENT:  # torch rounds by where in memory a row starts: copied, sequences start alike
            q = q.clone()
        k = key[group.start : group.start + group.num_attended].float().repeat_interleave(shared, dim=1)
        v = value[group.start : group.start + group.num_attended].float().repeat_interleave(shared, dim=1)
        scores = torch.einsum("qhd,khd->hqk", q, k) * spec.scale
        if spec.softcap is not None:
            scores = spec.softcap * torch.tanh(scores / spec.softcap)
        if bias is not None:
            scores = scores + bias(group, range(group.length), range(group.num_attended)).float()[0]
        seen = allowed(range(group.length), range(group.num_attended), spec, query.device)
        weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
        weights = weights.masked_fill(~seen.any(dim=1, keepdim=True), 0)
        outputs.append(torch.einsum("hqk,khd->qhd", weights, v))
    return torch.cat(outputs).to(query.dtype)


def allowed(queries: range, keys: range, spec: AttentionSpec, device: torch.device) -> Tensor:
    """Which of some keys each of some queries attends to, [queries, keys], bool; both are places in a sequence."""
    places = torch.arange(queries.start, queries.stop, device=device)
    distance = places.unsqueeze(1) - torch.arange(keys.start, keys.stop, device=device)
    seen = torch.ones_like(distance, dtype=torch.bool)
    if spec.causal:
        seen &= distance >= 0
    if spec.window is not None:
        seen &= distance.abs() <= spec.window
    return seen


def _sequences(batch: PackedBatch) -> list[EqualLengthGroup]:
    return [
        EqualLengthGroup(group.start + i * group.length, 1, group.length, group.num_masked)
        for group in batch.equal_length_groups
        for i in range(group.count)
    ]
