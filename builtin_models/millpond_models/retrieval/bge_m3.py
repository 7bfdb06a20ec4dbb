"""bge-m3: a vector of a text, a weight and a vector of each token, from one forward (Chen et al. 2024, 2402.03216)."""

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PoolingMetadata
from millpond_models.encoders.roberta.model import RobertaModel
from millpond_models.layers.skip_special_tokens import SkipSpecialTokens


class BgeM3Model(RobertaModel):
    """XLM-RoBERTa with a head for the vectors of tokens, ``colbert_linear``, and one for weights, ``sparse_linear``.

    The token that begins a text has neither; the one that ends it has a vector and no weight.
    """

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The pooler of a task, with its head; ``embed`` has none."""
        first, last = (ctx.config.get(f"{role}_token_id") for role in ("bos", "eos"))
        size = ctx.config.hidden_size
        if task == "token_embed":
            width = int(ctx.config.get("colbert_dim") or -1)
            width = width if width > 0 else size
            self.colbert_linear = Linear(ctx.for_head(), size, width)
            return SkipSpecialTokens(ctx.pooler(task, head=self.colbert_linear), first, None, empty=(0, width))
        if task == "token_classify":
            self.sparse_linear = Linear(ctx.for_head(), size, 1)
            pooler = ctx.pooler(task, head=self.sparse_linear, activation="relu")
            return OneDimension(SkipSpecialTokens(pooler, first, last, empty=(0, 1)))
        return ctx.pooler(task)


class OneDimension(nn.Module):
    """A pooler of rows that have one value each, as numbers."""

    def __init__(self, pooler: SkipSpecialTokens) -> None:
        super().__init__()
        self.pooler = pooler
        self.check = pooler.check

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden] -> [num_rows] for each sequence."""
        return [rows.squeeze(-1) for rows in self.pooler(hidden_states, metadata)]
