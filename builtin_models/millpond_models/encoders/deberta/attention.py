"""Disentangled attention: content-to-content, content-to-position and position-to-content (arXiv 2006.03654).

Scores depend on the contents of two tokens and on their distance; distances index one table of relative embeddings.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Attention, EqualLengthGroup, Linear, PackedBatch, to_device
from millpond_models.layers.head_dim import head_dim


@dataclass(frozen=True, kw_only=True)
class RelativePositions:
    """Maps distances to rows of the relative embeddings.

    Attributes:
        max_distance: Distances from this one on share a row.
        buckets: Rows per direction: short distances have their own rows, long ones share log-spaced rows. If it is not
            positive, every distance has its own row.
    """

    max_distance: int
    buckets: int

    @property
    def span(self) -> int:
        """Number of rows per direction."""
        return self.buckets if self.buckets > 0 else self.max_distance

    def rows(self, length: int) -> Tensor:
        """Return the rows of the distances ``1 - length`` to ``length - 1``, ascending: [2 * length - 1], int64."""
        distances = torch.arange(1 - length, length)
        if self.buckets > 0:
            distances = self._bucket(distances)
        return (distances + self.span).clamp_(0, 2 * self.span - 1)

    def _bucket(self, distances: Tensor) -> Tensor:
        near = self.buckets // 2
        far = distances.abs().clamp(min=near)
        # In float32 and in this order, so that bucket boundaries are those of training.
        log_position = (far / near).log() / torch.tensor((self.max_distance - 1) / near).log()
        bucket = (log_position * (near - 1)).ceil() + near
        return torch.where(distances.abs() <= near, distances, (bucket * distances.sign()).long())


class RowBlock(NamedTuple):
    """Rows of the relative embeddings for a block of queries and keys.

    Attributes:
        rows: The contiguous range of rows that the block uses.
        indices: Row of each query and key, relative to the range: [queries, keys], int64.
    """

    rows: slice
    indices: Tensor


class RelativeRows:
    """Rows of the relative embeddings for the queries and keys of a batch, computed once for all layers."""

    def __init__(self, positions: RelativePositions, batch: PackedBatch) -> None:
        self.max_length = batch.max_length
        self.rows = positions.rows(self.max_length)
        self.device = batch.input_ids.device
        self.blocks: dict[tuple[int, int, int], RowBlock] = {}

    def block(self, queries: range, keys: range) -> RowBlock:
        """Return the rows for ranges of query and key positions."""
        key = (queries.start - keys.start, len(queries), len(keys))
        block = self.blocks.get(key)
        if block is None:
            start = queries.start - keys.stop + self.max_length  # smallest distance: first query, last key
            rows = self.rows[start : start + len(queries) + len(keys) - 1]
            indices = to_device((rows - rows[0]).unfold(0, len(keys), 1).flip(1), self.device)
            block = self.blocks[key] = RowBlock(slice(int(rows[0]), int(rows[-1]) + 1), indices)
        return block


class RelativeEmbeddings(NamedTuple):
    """Relative embeddings projected by a layer, [num_heads, rows, head_dim] each; None if not used."""

    queries: Tensor | None
    keys: Tensor | None


@dataclass(frozen=True, kw_only=True)
class DisentangledBias:
    """The position terms of the attention scores; see ``millpond.nn.AttentionBias``.

    Attributes:
        query: [num_tokens, num_heads, head_dim].
        key: [num_tokens, num_heads, head_dim].
        relative: The relative embeddings.
        rows: Rows of the relative embeddings for queries and keys.
        scale: Factor of the scores.
    """

    query: Tensor
    key: Tensor
    relative: RelativeEmbeddings
    rows: RelativeRows
    scale: float

    def __call__(self, group: EqualLengthGroup, queries: range, keys: range) -> Tensor:
        """[num_seqs, num_heads, queries, keys]."""
        block = self.rows.block(queries, keys)
        scores = self.query.new_zeros(())
        if self.relative.keys is not None:
            content_to_position = _slice(self.query, group, queries) @ self.relative.keys[:, block.rows].mT
            scores = scores + _gather(content_to_position, block.indices)
        if self.relative.queries is not None:
            position_to_content = _slice(self.key, group, keys) @ self.relative.queries[:, block.rows].mT
            scores = scores + _gather(position_to_content, block.indices.t()).mT
        return scores * self.scale


class DisentangledAttention(nn.Module):
    """Self-attention by content and relative position.

    Args:
        ctx: The model's context.
        size: Hidden size.
        num_heads: Number of heads.
        position_terms: Score terms besides content-to-content: any of "c2p" and "p2c".
        share_projections: True to project relative embeddings with the query and key projections of the contents.
        relative_attention: True if the model has relative embeddings.
    """

    def __init__(
        self,
        ctx: Context,
        *,
        size: int,
        num_heads: int,
        position_terms: frozenset[str],
        share_projections: bool,
        relative_attention: bool,
    ) -> None:
        super().__init__()
        dim = head_dim(size, num_heads)
        self.num_heads, self.share_projections = num_heads, share_projections
        self.position_terms = position_terms if relative_attention else frozenset[str]()
        self.scale = (dim * (1 + len(position_terms))) ** -0.5
        self.qkv = Linear(ctx, size, size, size, size)
        separate = self.position_terms if not share_projections else frozenset[str]()
        self.position_key = Linear(ctx, size, size) if "c2p" in separate else None
        self.position_query = Linear(ctx, size, size) if "p2c" in separate else None
        self.attention = Attention(ctx, head_dim=dim, scale=self.scale, bias="pair" if self.position_terms else None)
        self.output = Linear(ctx, size, size)

    def project(self, embeddings: Tensor | None) -> RelativeEmbeddings | None:
        """Project the relative embeddings [rows, size]; None if the scores do not depend on positions."""
        if embeddings is None or not self.position_terms:
            return None
        if self.share_projections:
            query, key, _ = self.qkv(embeddings).chunk(3, dim=-1)
        else:
            query = None if self.position_query is None else self.position_query(embeddings)
            key = None if self.position_key is None else self.position_key(embeddings)
        return RelativeEmbeddings(
            queries=self._heads(query) if query is not None and "p2c" in self.position_terms else None,
            keys=self._heads(key) if key is not None and "c2p" in self.position_terms else None,
        )

    def forward(
        self, hidden_states: Tensor, batch: PackedBatch, relative: RelativeEmbeddings | None, rows: RelativeRows | None
    ) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], without the bias of ``output``."""
        query, key, value = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        bias = None
        if relative is not None and rows is not None:
            bias = DisentangledBias(query=query, key=key, relative=relative, rows=rows, scale=self.scale)
        attended: Tensor = self.output(self.attention(query, key, value, batch, bias), add_bias=False)
        return attended

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.num_heads, -1)).transpose(0, 1)
        return heads.contiguous()


def _slice(x: Tensor, group: EqualLengthGroup, positions: range) -> Tensor:
    """Return a range of positions of each sequence of a group: [num_seqs, num_heads, positions, head_dim]."""
    sequences: Tensor = x[group.start : group.stop].unflatten(0, (group.count, group.length))
    return sequences[:, positions.start : positions.stop].transpose(1, 2)


def _gather(scores: Tensor, indices: Tensor) -> Tensor:
    return scores.gather(-1, indices.expand(*scores.shape[:2], *indices.shape))
