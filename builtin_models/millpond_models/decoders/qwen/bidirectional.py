"""VoyageQwen3BidirectionalEmbedModel: bidirectional Qwen3 with a linear projection of each token."""

from torch import Tensor

from millpond.context import Context
from millpond.nn import Linear, PackedBatch
from millpond_models.decoders.qwen.model import Qwen3Model


class VoyageQwen3BidirectionalEmbedModel(Qwen3Model):
    """Bidirectional Qwen3; embeddings are pooled after a linear projection of each token."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.linear = Linear(ctx.unquantized(), ctx.config.hidden_size, ctx.model.classification.num_labels, bias=False)

    def is_causal(self, ctx: Context) -> bool:  # noqa: ARG002  config.json cannot change it
        """Return False."""
        return False

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, num_labels]."""
        projected: Tensor = self.linear(super().forward(batch))
        return projected
