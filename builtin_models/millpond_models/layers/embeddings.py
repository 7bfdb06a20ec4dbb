"""Embedding tables, and the input embeddings of BERT-like models."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from millpond.context import Context
from millpond.nn import PackedBatch
from millpond_models.layers.norm import LayerNorm, ResidualLayerNorm


class Embedding(nn.Module):
    """Embedding table: one vector per ID."""

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, size), requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, size]."""
        return functional.embedding(ids, self.weight)


class TokenEmbedding(Embedding):
    """The embedding table of a vocabulary.

    Attributes:
        dtype: The dtype of the table.
        output_dtype: The dtype of the vectors.
    """

    def __init__(self, ctx: Context, rows: int, size: int) -> None:
        super().__init__(rows, size)
        self.dtype, self.output_dtype = ctx.weight_dtype, ctx.dtype

    def forward(self, ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, size]."""
        return super().forward(ids).to(self.output_dtype)


class BertEmbeddings(nn.Module):
    """Sum of word, position and token type embeddings, then LayerNorm.

    Args:
        ctx: The model's context.
        vocab_size: Rows of the word embeddings.
        max_positions: Rows of the position embeddings; None if positions are encoded elsewhere.
        num_token_types: Rows of the token type embeddings; 0 for none.
        size: Hidden size.
        eps: Epsilon of the norm.
        first_position: Position ID of the first token. If it is not 0, ``first_position - 1`` is both the padding token
            and its position ID, and padding tokens inside a text are not counted, as in RoBERTa.
    """

    def __init__(
        self,
        ctx: Context,
        *,
        vocab_size: int,
        max_positions: int | None,
        num_token_types: int,
        size: int,
        eps: float,
        first_position: int = 0,
    ) -> None:
        super().__init__()
        self.word_embeddings = TokenEmbedding(ctx, vocab_size, size)
        self.position_embeddings = None if max_positions is None else Embedding(max_positions, size)
        self.token_type_embeddings = Embedding(num_token_types, size) if num_token_types else None
        self.norm = LayerNorm(size, eps) if self.position_embeddings is None else ResidualLayerNorm(ctx, size, eps)
        self.first_position = first_position

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, size]."""
        embeddings: Tensor = self.word_embeddings(batch.input_ids)
        shared = None  # a vector that is added to every token
        if self.token_type_embeddings is not None and batch.token_type_ids is None:
            shared = self.token_type_embeddings.weight[0]
        elif self.token_type_embeddings is not None:
            embeddings = embeddings + self.token_type_embeddings(batch.token_type_ids)
        if self.position_embeddings is None:
            normed: Tensor = self.norm(embeddings if shared is None else embeddings + shared)
        else:
            positions = roberta_position_ids(batch, self.first_position) if self.first_position else batch.positions
            normed = self.norm(embeddings, shared, self.position_embeddings(positions))
        return normed


def roberta_position_ids(batch: PackedBatch, first: int) -> Tensor:
    """Return position IDs that start after the padding ID and skip padding tokens, [num_tokens], as in RoBERTa."""
    positions, padding = batch.positions + first, first - 1
    is_padding = batch.input_ids == padding
    if is_padding.device.type == "cpu" and not is_padding.any():  # elsewhere, reading it would wait for the device
        return positions
    counts = (~is_padding).cumsum(0)
    starts = torch.arange(len(is_padding), device=is_padding.device) - batch.positions
    before = counts[starts] - (~is_padding[starts]).long()
    return (counts - before + padding).masked_fill(is_padding, padding)
