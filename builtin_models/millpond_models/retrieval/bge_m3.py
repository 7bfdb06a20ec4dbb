"""bge-m3: dense, sparse and multi-vector embeddings in one forward pass (Chen et al., 2024, arXiv 2402.03216)."""

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PoolingMetadata
from millpond_models.encoders.roberta.model import RobertaModel
from millpond_models.layers.skip_special_tokens import SkipSpecialTokens


class BgeM3Model(RobertaModel):
    """XLM-RoBERTa with a head for token vectors, ``colbert_linear``, and a head for token weights, ``sparse_linear``.

    The BOS token has no vector and no weight; the EOS token has a vector but no weight.
    """

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler of a task, with its head; ``embed`` has none."""
        bos_id, eos_id = (ctx.config.get(f"{role}_token_id") for role in ("bos", "eos"))
        size = ctx.config.hidden_size
        if task == "token_embed":
            stated_dim = int(ctx.config.get("colbert_dim") or -1)
            dim = stated_dim if stated_dim > 0 else size
            self.colbert_linear = Linear(ctx.for_head(), size, dim)
            return SkipSpecialTokens(ctx.pooler(task, head=self.colbert_linear), bos_id, None, empty=(0, dim))
        if task == "token_classify":
            self.sparse_linear = Linear(ctx.for_head(), size, 1)
            pooler = ctx.pooler(task, head=self.sparse_linear, activation="relu")
            return SqueezeLastDim(SkipSpecialTokens(pooler, bos_id, eos_id, empty=(0, 1)))
        return ctx.pooler(task)


class SqueezeLastDim(nn.Module):
    """Removes the last dimension, of size 1, from the results of a pooler."""

    def __init__(self, pooler: SkipSpecialTokens) -> None:
        super().__init__()
        self.pooler = pooler
        self.check = pooler.check

    def forward(self, hidden_states: Tensor, metadata: PoolingMetadata) -> list[Tensor]:
        """[num_tokens, hidden_size] -> a list of num_seqs tensors, [num_rows] each."""
        return [rows.squeeze(-1) for rows in self.pooler(hidden_states, metadata)]
