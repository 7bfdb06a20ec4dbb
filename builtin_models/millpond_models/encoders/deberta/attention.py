"""Disentangled attention: content to content, content to position, position to content (He et al., 2020, 2006.03654).

A token attends to another by what both are and by how far they are apart; distances share the rows of one table.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Attention, EqualLengthGroup, Linear, PackedBatch
from millpond_models.layers.head_dim import head_dim


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Which row of the table a distance has.

    Attributes:
        longest: From this distance on, all share a row.
        buckets: Rows on each side: near distances have one each, far ones share them by their logarithm; 0 or less
            gives every distance its own.
    """

    longest: int
    buckets: int

    @property
    def span(self) -> int:
        """The rows on each side."""
        return self.buckets if self.buckets > 0 else self.longest

    def rows(self, length: int) -> Tensor:
        """The rows of the distances from ``1 - length`` to ``length - 1``, never falling: [2 * length - 1], int64."""
        distances = torch.arange(1 - length, length)
        if self.buckets > 0:
            distances = self._bucket(distances)
        return (distances + self.span).clamp_(0, 2 * self.span - 1)

    def _bucket(self, distances: Tensor) -> Tensor:
        near = self.buckets // 2
        far = distances.abs().clamp(min=near)
        # In float32 and in this order, so that a bucket ends where it ended in the training.
        share = (far / near).log() / torch.tensor((self.longest - 1) / near).log()
        bucket = (share * (near - 1)).ceil() + near
        return torch.where(distances.abs() <= near, distances, (bucket * distances.sign()).long())


class Block(NamedTuple):
    """The rows of the table for some queries and keys.

    Attributes:
        needed: All of them, which are neighbours.
        places: Which of those a query and a key have: [queries, keys], int64.
    """

    needed: slice
    places: Tensor


class Rows:
    """The rows of the table for the queries and keys of a batch; found once for all layers."""

    def __init__(self, distances: Distances, batch: PackedBatch) -> None:
        self.longest = batch.max_length
        self.rows = distances.rows(self.longest)
        self.device = batch.input_ids.device
        self.blocks: dict[tuple[int, int, int], Block] = {}

    def block(self, queries: range, keys: range) -> Block:
        """Those of some queries and keys, places in their sequences."""
        name = (queries.start - keys.start, len(queries), len(keys))
        found = self.blocks.get(name)
        if found is None:
            start = queries.start - keys.stop + self.longest  # of the shortest distance: the first query, the last key
            rows = self.rows[start : start + len(queries) + len(keys) - 1]
            places = (rows - rows[0]).unfold(0, len(keys), 1).flip(1).to(self.device)
            found = self.blocks[name] = Block(slice(int(rows[0]), int(rows[-1]) + 1), places)
        return found


class PositionTables(NamedTuple):
    """The table of distances as a layer maps it: [heads, rows, head_dim] each; None where it is not used."""

    queries: Tensor | None
    keys: Tensor | None


@dataclass(frozen=True, kw_only=True)
class DisentangledBias:
    """What distances add to the products of queries and keys; see ``millpond.nn.AttentionBias``.

    Attributes:
        query: [num_tokens, heads, head_dim].
        key: The same.
        tables: The table of distances.
        rows: Which of its rows a query and a key have.
        scale: What products are multiplied with.
    """

    query: Tensor
    key: Tensor
    tables: PositionTables
    rows: Rows
    scale: float

    def __call__(self, group: EqualLengthGroup, queries: range, keys: range) -> Tensor:
        """[count, heads, queries, keys]."""
        block = self.rows.block(queries, keys)
        added = self.query.new_zeros(())
        if self.tables.keys is not None:
            products = _part(self.query, group, queries) @ self.tables.keys[:, block.needed].transpose(-1, -2)
            added = added + _gather(products, block.places)
        if self.tables.queries is not None:
            products = _part(self.key, group, keys) @ self.tables.queries[:, block.needed].transpose(-1, -2)
            added = added + _gather(products, block.places.t()).transpose(-1, -2)
        return added * self.scale


class DisentangledAttention(nn.Module):
    """Attention of a sequence to itself by content and distance.

    Args:
        ctx: The model's context.
        size: The dimensions of hidden states.
        num_heads: The heads.
        kinds: "c2p", "p2c", both or none: whose distances count, beside content to content.
        shared: Whether distances are mapped as contents are; else by maps of their own.
        distant: Whether there is a table of distances at all.
    """

    def __init__(
        self, ctx: Context, *, size: int, num_heads: int, kinds: frozenset[str], shared: bool, distant: bool
    ) -> None:
        super().__init__()
        self.num_heads, self.shared, own = num_heads, shared, head_dim(size, num_heads)
        self.kinds = kinds if distant else frozenset[str]()
        self.scale = (own * (1 + len(kinds))) ** -0.5
        self.qkv = Linear(ctx, size, size, size, size)
        self.position_key = Linear(ctx, size, size) if "c2p" in self.kinds and not shared else None
        self.position_query = Linear(ctx, size, size) if "p2c" in self.kinds and not shared else None
        self.attention = Attention(ctx, head_dim=own, scale=self.scale, bias="pair" if self.kinds else None)
        self.output = Linear(ctx, size, size)

    def tables(self, relative: Tensor | None) -> PositionTables | None:
        """The table of distances [rows, size] as queries and keys; None where no distance counts."""
        if relative is None or not self.kinds:
            return None
        if self.shared:
            query, key, _ = self.qkv(relative).chunk(3, dim=-1)
        else:
            query = None if self.position_query is None else self.position_query(relative)
            key = None if self.position_key is None else self.position_key(relative)
        return PositionTables(
            queries=self._heads(query) if query is not None and "p2c" in self.kinds else None,
            keys=self._heads(key) if key is not None and "c2p" in self.kinds else None,
        )

    def forward(self, x: Tensor, batch: PackedBatch, tables: PositionTables | None, rows: Rows | None) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], the bias of ``output`` not yet added."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        bias = None
        if tables is not None and rows is not None:
            bias = DisentangledBias(query=query, key=key, tables=tables, rows=rows, scale=self.scale)
        attended: Tensor = self.output(self.attention(query, key, value, batch, bias), add_bias=False)
        return attended

    def _heads(self, rows: Tensor) -> Tensor:
        heads: Tensor = rows.unflatten(-1, (self.num_heads, -1)).transpose(0, 1)
        return heads.contiguous()


def _part(x: Tensor, group: EqualLengthGroup, places: range) -> Tensor:
    """The rows of some places of each sequence of a group: [count, heads, places, head_dim]."""
    own: Tensor = x[group.start : group.stop].unflatten(0, (group.count, group.length))
    return own[:, places.start : places.stop].transpose(1, 2)


def _gather(products: Tensor, places: Tensor) -> Tensor:
    return products.gather(-1, places.expand(*products.shape[:2], *places.shape))
