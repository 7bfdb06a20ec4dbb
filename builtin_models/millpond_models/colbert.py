"""HF_ColBERT: BERT with a projection of every token, as Stanford's ColBERT writes it (2020, arXiv 2004.12832)."""

from torch import nn

from millpond.context import Context
from millpond.errors import CheckpointError
from millpond.nn import Linear
from millpond_models.bert import BertModel


class ColBert(BertModel):
    """BERT, then one linear map of each token, ``linear``, to fewer dimensions."""

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The projection of what is pooled."""
        self.linear = Linear(ctx.for_head(), ctx.config.hidden_size, vector_size(ctx), bias=False)
        return ctx.pooler(task, head=self.linear)


def vector_size(ctx: Context) -> int:
    """The dimensions of a token's vector.

    Raises:
        CheckpointError: If no file says.
    """
    said = ctx.model.late_interaction
    if said is not None and said.dim is not None:
        return said.dim
    message = (
        "ColBERT dimension not found in model config. Expected one of: 'colbert_dim', 'dim', or 'projection_dim'. You "
        "can specify it via --hf-overrides '{\"dim\": 128}'"
    )
    raise CheckpointError(message)
