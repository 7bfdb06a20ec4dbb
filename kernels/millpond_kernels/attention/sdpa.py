"""Attention with torch's scaled_dot_product_attention, for groups of sequences of equal length or with padding."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from millpond.nn import AttentionBias, AttentionSpec, EqualLengthGroup, PackedBatch
from millpond_kernels.attention.padding import PaddedGroup, padded_groups
from millpond_kernels.attention.reference import attention_mask

MAX_LAUNCHES = 16  # on an accelerator, launching more groups costs more than computing padding
MAX_SCORES = 1 << 23  # values of a mask, a bias or scores that are in memory at a time
WINDOW_ROWS = 256  # queries per block with a window: fewer cost more launches, more cost unused products


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    batch: PackedBatch,
    spec: AttentionSpec,
    bias: AttentionBias | None = None,
) -> Tensor:
    """The op ``attention``; see ``attention.reference`` for its arguments."""
    plain = spec.softcap is None and bias is None
    if plain and len(batch.equal_length_groups) > MAX_LAUNCHES and query.device.type != "cpu":
        return _attend_padded(query, key, value, batch, spec)
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    for group in batch.equal_length_groups:
        output[group.start : group.stop] = attend_group(query, key, value, group, spec, bias)
    return output


def attend_group(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    group: EqualLengthGroup,
    spec: AttentionSpec,
    bias: AttentionBias | None = None,
) -> Tensor:
    """Return the attention of a group of sequences: [count * length, heads, head_dim]."""
    q, k, v = (
        x[group.start : group.stop].unflatten(0, (group.count, group.length)).transpose(1, 2)
        for x in (query, key, value)
    )
    windowed = spec.window is not None and spec.window < group.length - 1
    if not windowed and not group.num_masked and spec.softcap is None and bias is None:
        attended = _call(q, k, v, scale=spec.scale, causal=spec.causal)
    else:
        attended = _attend_in_blocks(q, k, v, group, spec, bias)
    return attended.transpose(1, 2).flatten(0, 1)


def _attend_in_blocks(
    query: Tensor, key: Tensor, value: Tensor, group: EqualLengthGroup, spec: AttentionSpec, bias: AttentionBias | None
) -> Tensor:
    """[count, heads, length, head_dim] three times -> the same shape, in blocks of queries and their keys."""
    output = torch.zeros_like(query)
    for queries, keys in _blocks(query, group, spec):
        output[:, :, queries.start : queries.stop] = _attend(
            query[:, :, queries.start : queries.stop],
            key[:, :, keys.start : keys.stop],
            value[:, :, keys.start : keys.stop],
            spec,
            _mask(query, group, spec, bias, queries, keys),
        )
    return output


def _blocks(query: Tensor, group: EqualLengthGroup, spec: AttentionSpec) -> Iterator[tuple[range, range]]:
    """Yield blocks of queries and the keys that they attend to, as positions; queries without keys are not yielded."""
    window = group.length if spec.window is None else spec.window
    masks = 1 if spec.softcap is None and spec.bias != "pair" else group.count  # one for all sequences, or one each
    rows = max(MAX_SCORES // (masks * query.shape[1] * group.num_attended), 1)
    if spec.window is not None:
        rows = min(rows, max(WINDOW_ROWS, spec.window))
    num_attending = min(group.length, group.num_attended + window)
    for start in range(0, num_attending, rows):
        queries = range(start, min(start + rows, num_attending))
        ahead = 0 if spec.causal else window
        yield queries, range(max(start - window, 0), min(queries.stop + ahead, group.num_attended))


def _attend_padded(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, spec: AttentionSpec) -> Tensor:
    """Attention of sequences of mixed lengths, in groups of similar lengths, without waiting for the device."""
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    for group in padded_groups(batch):
        q, k, v = (group.pad(x).transpose(1, 2) for x in (query, key, value))
        mask, attends = _padding_mask(group, spec)
        # Without `~attends`, the result of a query without keys, such as padding, would be NaN and spread to sums.
        attended = _call(q, k, v, mask | ~attends, scale=spec.scale)
        if batch.num_masked:
            attended = attended.masked_fill(~attends, 0)
        output[group.start : group.stop] = group.unpad(attended.transpose(1, 2))
    return output


def _padding_mask(group: PaddedGroup, spec: AttentionSpec) -> tuple[Tensor, Tensor]:
    """Return the mask of keys, [count, 1, length or 1, length], and which queries attend to a key, [..., 1], bool."""
    device = group.places.device
    mask = (torch.arange(group.length, device=device) < group.num_attended.unsqueeze(1))[:, None, None, :]
    if spec.causal or spec.window is not None:
        mask = mask & attention_mask(range(group.length), range(group.length), spec, device)
    return mask, mask.any(dim=-1, keepdim=True)


def _mask(
    query: Tensor, group: EqualLengthGroup, spec: AttentionSpec, bias: AttentionBias | None, queries: range, keys: range
) -> Tensor | None:
    """Return a mask [queries, keys], bool, or a bias to add, [count or 1, heads, queries, keys]; None for neither."""
    # The maximum distances: from the first query to the last key, and from the first key to the last query.
    ahead, behind = keys.stop - 1 - queries.start, queries.stop - 1 - keys.start
    needs_mask = (spec.causal and ahead > 0) or (spec.window is not None and max(ahead, behind) > spec.window)
    mask = attention_mask(queries, keys, spec, query.device) if needs_mask else None
    if bias is None:
        return mask
    added = bias(group, queries, keys).to(query.dtype)
    return added if mask is None else added.masked_fill(~mask, -torch.inf)


def _attend(query: Tensor, key: Tensor, value: Tensor, spec: AttentionSpec, mask: Tensor | None) -> Tensor:
    if spec.softcap is not None:
        return _attend_capped(query, key, value, spec.scale, spec.softcap, mask)
    return _call(query, key, value, mask, scale=spec.scale)


def _call(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *, scale: float, causal: bool = False
) -> Tensor:
    """Call ``scaled_dot_product_attention``, with heads of keys that may be shared by several heads of queries."""
    heads_per_key = query.shape[1] // key.shape[1]
    # Of torch's fast kernels for GPUs, only FlashAttention has shared heads, without masks and in 16 bits. Otherwise
    # torch would silently compute all scores in memory.
    if heads_per_key > 1 and query.device.type != "cpu" and (mask is not None or query.dtype == torch.float32):
        key, value = key.repeat_interleave(heads_per_key, dim=1), value.repeat_interleave(heads_per_key, dim=1)
        heads_per_key = 1
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=heads_per_key > 1
    )


def _attend_capped(
    query: Tensor, key: Tensor, value: Tensor, scale: float, softcap: float, mask: Tensor | None
) -> Tensor:
    """Attention with a softcap, which torch's kernel does not support. All scores are in memory."""
    kv_heads = key.shape[1]
    grouped = query.unflatten(1, (kv_heads, -1))
    scores = (grouped @ key.unsqueeze(2).transpose(-1, -2)).flatten(1, 2).float()
    scores = scores.mul_(scale / softcap).tanh_().mul_(softcap)
    if mask is not None:
        scores = scores.masked_fill_(~mask, -torch.inf) if mask.dtype is torch.bool else scores.add_(mask)
    weights = scores.softmax(dim=-1).to(value.dtype)
    attended: Tensor = weights.unflatten(1, (kv_heads, -1)) @ value.unsqueeze(2)
    return attended.flatten(1, 2)
