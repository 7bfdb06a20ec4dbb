"""ColBERT: an encoder with a linear projection of each token (Khattab and Zaharia, 2020, arXiv 2004.12832)."""

from torch import nn

from millpond.context import Context
from millpond.nn import Linear, PoolingModel
from millpond.types.errors import CheckpointError
from millpond_models.decoders.lfm2.model import Lfm2Model
from millpond_models.encoders.bert.model import BertModel
from millpond_models.encoders.jina_v3.model import JinaXLMRobertaModel
from millpond_models.encoders.modernbert.model import ModernBertModel


class TokenProjection(PoolingModel):
    """Projects each token to fewer dimensions, by ``linear`` or the Dense modules of the checkpoint."""

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler, with the projection as its head."""
        if ctx.rows_after_pooling is not None:
            return ctx.pooler(task)
        self.linear = Linear(ctx.for_head(), ctx.config.hidden_size, vector_size(ctx), bias=False)
        return ctx.pooler(task, head=self.linear)


class ColBert(TokenProjection, BertModel):
    """BERT with a projection, as in Stanford's ColBERT."""


class ColBertModernBert(TokenProjection, ModernBertModel):
    """ModernBERT with a projection, saved by PyLate or in the weights of the encoder."""


class ColBertJinaRoberta(TokenProjection, JinaXLMRobertaModel):
    """jina-colbert-v2: XLM-RoBERTa with rotary embeddings and a projection (Jha et al., 2024, arXiv 2408.16672)."""


class ColBertLfm2(TokenProjection, Lfm2Model):
    """LFM2 with a projection, saved by PyLate or in the weights of the model."""


def vector_size(ctx: Context) -> int:
    """Return the dimensions of the token vectors.

    Raises:
        CheckpointError: If no file specifies them.
    """
    late_interaction = ctx.model.retrieval.late_interaction
    if late_interaction is not None and late_interaction.dim is not None:
        return late_interaction.dim
    message = (
        "ColBERT dimension not found in model config. Expected one of: 'colbert_dim', 'dim', or 'projection_dim'. You "
        "can specify it via --hf-overrides '{\"dim\": 128}'"
    )
    raise CheckpointError(message)
