"""HelloModel: the hidden state of a token is the vector of its id."""

from typing import ClassVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch, PoolingModel


class HelloModel(PoolingModel):
    """Word vectors and nothing else."""

    weight_names: ClassVar = ((r"encoder\.word_vectors", r"words.weight"),)

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.words = nn.Embedding(ctx.config.vocab_size, ctx.config.hidden_size)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch of num_tokens tokens -> [num_tokens, hidden]."""
        hidden_states: Tensor = self.words(batch.input_ids)
        return hidden_states
