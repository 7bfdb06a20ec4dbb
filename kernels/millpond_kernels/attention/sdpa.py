"""Attention by torch's scaled_dot_product_attention: without padding on runs of equal length, else padded inside."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from millpond.nn import AttentionBias, AttentionSpec, EqualLengthGroup, PackedBatch
from millpond_kernels.attention.reference import allowed

MOST_LAUNCHES = 16  # on an accelerator, more runs than these cost more to launch than padding costs to compute
MOST_SCORES = 1 << 23  # numbers of a mask, a bias or scores that are held at a time
WINDOW_ROWS = 256  # queries that share the keys of their windows: fewer cost launches, more cost products in vain


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    batch: PackedBatch,
    spec: AttentionSpec,
    bias: AttentionBias | None = None,
) -> Tensor:
    """The op ``attention``; see ``attention.reference`` for its arguments."""
    plain = spec.softcap is None and bias is None and batch.num_seqs * batch.max_length**2 <= MOST_SCORES
    if plain and len(batch.equal_length_groups) > MOST_LAUNCHES and query.device.type != "cpu":
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
    """Attention of sequences of one length: [count * length, heads, head_dim] of the run's rows."""
    q, k, v = (
        x[group.start : group.stop].unflatten(0, (group.count, group.length)).transpose(1, 2)
        for x in (query, key, value)
    )
    windowed = spec.window is not None and spec.window < group.length - 1
    if not windowed and not group.num_masked and spec.softcap is None and bias is None:
        attended = scaled_dot_product_attention(
            q, k, v, is_causal=spec.causal, scale=spec.scale, enable_gqa=query.shape[1] != key.shape[1]
        )
    else:
        attended = _attend_in_blocks(q, k, v, group, spec, bias)
    return attended.transpose(1, 2).flatten(0, 1)


def _attend_in_blocks(
    query: Tensor, key: Tensor, value: Tensor, group: EqualLengthGroup, spec: AttentionSpec, bias: AttentionBias | None
) -> Tensor:
    """[count, heads, length, head_dim] thrice -> the same, some queries at a time with the keys that they see."""
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
    """Queries and the keys that some of them see, places in a sequence; of queries that see none, nothing."""
    window = group.length if spec.window is None else spec.window
    own = 1 if spec.softcap is None and spec.bias != "pair" else group.count  # else one mask serves all sequences
    rows = max(MOST_SCORES // (own * query.shape[1] * group.num_attended), 1)
    if spec.window is not None:
        rows = min(rows, max(WINDOW_ROWS, spec.window))
    last_that_sees = min(group.length, group.num_attended + window)
    for start in range(0, last_that_sees, rows):
        queries = range(start, min(start + rows, last_that_sees))
        ahead = 0 if spec.causal else window
        yield queries, range(max(start - window, 0), min(queries.stop + ahead, group.num_attended))


def _attend_padded(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, spec: AttentionSpec) -> Tensor:
    longest = batch.max_length
    places = torch.arange(longest, device=query.device).unsqueeze(0)
    lengths = batch.cu_seqlens.diff().unsqueeze(1)
    real = places < lengths
    hidden = torch.tensor(batch.num_masked or (0,), device=query.device).unsqueeze(1)
    q, k, v = (_pad(x, real).transpose(1, 2) for x in (query, key, value))
    mask = (places < lengths - hidden)[:, None, None, :] & allowed(range(longest), range(longest), spec, query.device)
    sees = mask.any(dim=-1, keepdim=True)
    # A query that attends to nothing, such as a padded one, would give NaN, which a later sum would spread.
    attended = scaled_dot_product_attention(
        q, k, v, attn_mask=mask | ~sees, scale=spec.scale, enable_gqa=query.shape[1] != key.shape[1]
    )
    if batch.num_masked:
        attended = attended.masked_fill(~sees, 0)
    return attended.transpose(1, 2)[real]


def _pad(x: Tensor, real: Tensor) -> Tensor:
    padded = x.new_zeros((*real.shape, *x.shape[1:]))
    padded[real] = x
    return padded


def _mask(
    query: Tensor, group: EqualLengthGroup, spec: AttentionSpec, bias: AttentionBias | None, queries: range, keys: range
) -> Tensor | None:
    """[queries, keys], bool, or [count or 1, heads, queries, keys] to add; None for nothing."""
    # At most so far away are the first query and the last key, and the last query and the first key.
    ahead, behind = keys.stop - 1 - queries.start, queries.stop - 1 - keys.start
    cut = (spec.causal and ahead > 0) or (spec.window is not None and max(ahead, behind) > spec.window)
    seen = allowed(queries, keys, spec, query.device) if cut else None
    if bias is None:
        return seen
    added = bias(group, queries, keys).to(query.dtype)
    return added if seen is None else added.masked_fill(~seen, -torch.inf)


def _attend(query: Tensor, key: Tensor, value: Tensor, spec: AttentionSpec, mask: Tensor | None) -> Tensor:
    if spec.softcap is not None:
        return _attend_capped(query, key, value, spec.scale, spec.softcap, mask)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=spec.scale, enable_gqa=query.shape[1] != key.shape[1]
    )


def _attend_capped(
    query: Tensor, key: Tensor, value: Tensor, scale: float, softcap: float, mask: Tensor | None
) -> Tensor:
    """With a softcap, which torch's kernel has not: the scores are all there."""
    kv_heads = key.shape[1]
    grouped = query.unflatten(1, (kv_heads, -1))
    scores = (grouped @ key.unsqueeze(2).transpose(-1, -2)).flatten(1, 2).float()
    scores = scores.mul_(scale / softcap).tanh_().mul_(softcap)
    if mask is not None:
        scores = scores.masked_fill_(~mask, -torch.inf) if mask.dtype is torch.bool else scores.add_(mask)
    weights = scores.softmax(dim=-1).to(value.dtype)
    attended: Tensor = weights.unflatten(1, (kv_heads, -1)) @ value.unsqueeze(2)
    return attended.flatten(1, 2)
