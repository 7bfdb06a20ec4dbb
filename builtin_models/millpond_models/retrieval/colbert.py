"""ColBERT: an encoder with a projection of every token (Khattab and Zaharia, 2020, arXiv 2004.12832)."""

from torch import nn

from millpond.context import Context
from millpond.nn import Linear, PoolingModel
from millpond.types.errors import CheckpointError
from millpond_models.decoders.lfm2.model import Lfm2Model
from millpond_models.encoders.bert.model import BertModel
from millpond_models.encoders.jina_v3.model import JinaXLMRobertaModel
from millpond_models.encoders.modernbert.model import ModernBertModel


class Projected(PoolingModel):
    """An encoder, then one linear map of each token, ``linear``, to fewer dimensions; or its Dense modules."""

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The projection of what is pooled."""
        if ctx.rows_after_pooling is not None:
            return ctx.pooler(task)
        self.linear = Linear(ctx.for_head(), ctx.config.hidden_size, vector_size(ctx), bias=False)
        return ctx.pooler(task, head=self.linear)


class ColBert(Projected, BertModel):
    """BERT, projected, as Stanford's ColBERT writes it."""


class ColBertModernBert(Projected, ModernBertModel):
    """ModernBERT, projected, as PyLate writes it or with the map beside the encoder."""


class ColBertJinaRoberta(Projected, JinaXLMRobertaModel):
    """Jina's XLM-RoBERTa with rotary positions, projected (Jha et al., 2024, arXiv 2408.16672)."""


class ColBertLfm2(Projected, Lfm2Model):
    """LFM2, projected, as PyLate writes it or with the map beside the model."""


def vector_size(ctx: Context) -> int:
    """The dimensions of a token's vector.

    Raises:
        CheckpointError: If no file says.
    """
    said = ctx.model.retrieval.late_interaction
    if said is not None and said.dim is not None:
        return said.dim
    message = (
        "ColBERT dimension not found in model config. Expected one of: 'colbert_dim', 'dim', or 'projection_dim'. You "
        "can specify it via --hf-overrides '{\"dim\": 128}'"
    )
    raise CheckpointError(message)
