"""Tables of vectors, and the sum of tables that BERT-like models start with."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from millpond.nn import PackedBatch
from millpond_models.layers.norm import LayerNorm


class Table(nn.Module):
    """A vector for each id."""

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, size), requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        """[num_tokens] -> [num_tokens, size]."""
        return functional.embedding(ids, self.weight)


class BertEmbeddings(nn.Module):
    """The sum of word, position and segment vectors, normalised."""

    def __init__(
        self, *, vocab_size: int, max_positions: int, num_segments: int, size: int, eps: float, first_position: int = 0
    ) -> None:
        super().__init__()
        self.words = Table(vocab_size, size)
        self.positions = Table(max_positions, size)
        self.segments = Table(num_segments, size)
        self.norm = LayerNorm(size, eps)
        self.first_position = first_position

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, size]."""
        segments = self.segments.weight[0] if batch.token_type_ids is None else self.segments(batch.token_type_ids)
        words = self.words(batch.input_ids)
        embedded: Tensor = self.norm(words + segments + self.positions(batch.positions + self.first_position))
        return embedded
