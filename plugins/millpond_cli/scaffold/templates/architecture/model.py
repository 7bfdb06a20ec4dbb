"""AddonNameModel: word embeddings and a feed-forward block with a residual connection."""

from typing import ClassVar

from millpond.context import ModelContext
from millpond.nn import Linear, PackedBatch, PoolingModel
from torch import Tensor, nn


class AddonNameModel(PoolingModel):
    """Word embeddings and a feed-forward block, computed by Millpond's kernels for the device.

    ``weight_names`` maps names of tensors in the checkpoint to names of parameters here; others have the same names.
    """

    weight_names: ClassVar = ((r"embeddings\.word_embeddings\.weight", r"word_embeddings.weight"),)

    def __init__(self, ctx: ModelContext) -> None:
        super().__init__(ctx)
        size = ctx.config.hidden_size
        self.word_embeddings = nn.Embedding(ctx.config.vocab_size, size)
        self.norm = nn.LayerNorm(size, eps=1e-5)
        self.up = Linear(ctx, size, 4 * size)
        self.down = Linear(ctx, 4 * size, size)
        self.act = ctx.activation("gelu")

    def forward(self, batch: PackedBatch) -> Tensor:
        """Return the hidden states [num_tokens, hidden_size] of all sequences, which follow each other unpadded."""
        hidden_states = self.word_embeddings(batch.input_ids)
        output: Tensor = hidden_states + self.down(self.act(self.up(self.norm(hidden_states))))
        return output
