"""VoyageQwen3BidirectionalEmbedModel: Qwen3 that attends in both directions, with a linear map of each token."""

from torch import Tensor

from millpond.context import Context
from millpond.nn import Linear, PackedBatch
from millpond_models.decoders.qwen.model import Qwen3Model


class VoyageQwen3BidirectionalEmbedModel(Qwen3Model):
    """Qwen3 in both directions, and a linear map of each token, of which embeddings are pooled."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.linear = Linear(ctx.unquantized(), ctx.config.hidden_size, ctx.model.classification.num_labels, bias=False)

    def is_causal(self, ctx: Context) -> bool:  # noqa: ARG002  config.json has no say in it
        """Never."""
        return False

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, num_labels]."""
        mapped: Tensor = self.linear(super().forward(batch))
        return mapped
