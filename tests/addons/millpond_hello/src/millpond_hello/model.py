"""HelloModel: the hidden state of a token is its word embedding."""

from typing import ClassVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch, PoolingModel


class HelloModel(PoolingModel):
    """A model with only word embeddings."""

    weight_names: ClassVar = ((r"encoder\.word_vectors", r"word_embeddings.weight"),)

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.word_embeddings = nn.Embedding(ctx.config.vocab_size, ctx.config.hidden_size)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Return the word embeddings: [num_tokens, hidden]."""
        hidden_states: Tensor = self.word_embeddings(batch.input_ids)
        return hidden_states
