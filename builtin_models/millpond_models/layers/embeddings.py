"""Tables of vectors, and the sum of tables that BERT-like models start with."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from millpond.context import Context
from millpond.nn import PackedBatch
from millpond_models.layers.norm import LayerNorm, ResidualLayerNorm


class Table(nn.Module):
    """A vector for each id."""

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, size), requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, size]."""
        return functional.embedding(ids, self.weight)


class BertEmbeddings(nn.Module):
    """The sum of word, position and segment vectors, normalised.

    Args:
        ctx: The model's context.
        vocab_size: The rows of the table of words.
        max_positions: The rows of the table of positions; None for no table, where attention knows the positions.
        num_segments: The rows of the table of segments; 0 for no table.
        size: The dimensions of a vector.
        eps: What the norm adds to the variance.
        first_position: The row of the first token's position. If it is not 0, the id before it is that of padding: its
            tokens, should a text hold any, have the row of that number and are not counted.
    """

    def __init__(
        self,
        ctx: Context,
        *,
        vocab_size: int,
        max_positions: int | None,
        num_segments: int,
        size: int,
        eps: float,
        first_position: int = 0,
    ) -> None:
        super().__init__()
        self.words = Table(vocab_size, size)
        self.positions = None if max_positions is None else Table(max_positions, size)
        self.segments = Table(num_segments, size) if num_segments else None
        self.norm = LayerNorm(size, eps) if self.positions is None else ResidualLayerNorm(ctx, size, eps)
        self.first_position = first_position

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, size]."""
        x: Tensor = self.words(batch.input_ids)
        of_all = None  # what is added to every vector
        if self.segments is not None and batch.token_type_ids is None:
            of_all = self.segments.weight[0]
        elif self.segments is not None:
            x = x + self.segments(batch.token_type_ids)
        if self.positions is None:
            normed: Tensor = self.norm(x if of_all is None else x + of_all)
        else:
            places = counted(batch, self.first_position) if self.first_position else batch.positions
            normed = self.norm(x, of_all, self.positions(places))
        return normed


def counted(batch: PackedBatch, first: int) -> Tensor:
    """The rows of positions that start behind the padding id, [num_tokens]; see ``BertEmbeddings``."""
    places, padding = batch.positions + first, first - 1
    held = batch.input_ids == padding
    if not held.any():
        return places
    counts = (~held).cumsum(0)
    starts = torch.arange(len(held), device=held.device) - batch.positions
    before = counts[starts] - (~held[starts]).long()
    return (counts - before + padding).masked_fill(held, padding)
