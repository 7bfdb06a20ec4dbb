"""MPNetModel: BERT with T5's relative position bias, shared by all layers (Song et al., 2020, arXiv 2004.09297)."""

from collections.abc import Sequence
from typing import ClassVar

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_models.encoders.bert.model import BertModel
from millpond_models.heads.classifier import Classifier, TanhClassifier
from millpond_models.layers.position_bias import NUM_BUCKETS, RelativePositionBias

FIRST_POSITION = 2  # after the padding ID used in training; config.json may contain another


class MPNetModel(BertModel):
    """MPNet, such as all-mpnet-base-v2: positions start at 2, and there are no token types."""

    weight_prefixes = ("mpnet.", "model.")
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"encoder\.layer\.(\d+)\.attention\.attn\.q\.(\w+)", r"layers.\1.attention.qkv.\2@0"),
        (r"encoder\.layer\.(\d+)\.attention\.attn\.k\.(\w+)", r"layers.\1.attention.qkv.\2@1"),
        (r"encoder\.layer\.(\d+)\.attention\.attn\.v\.(\w+)", r"layers.\1.attention.qkv.\2@2"),
        (r"encoder\.layer\.(\d+)\.attention\.attn\.o\.(\w+)", r"layers.\1.attention.output.\2"),
        (r"encoder\.layer\.(\d+)\.attention\.LayerNorm\.(\w+)", r"layers.\1.attention_norm.\2"),
        (r"encoder\.relative_attention_bias\.weight", r"position_bias.weight"),
        *BertModel.weight_names,
    )

    def first_position(self, ctx: Context) -> int:  # noqa: ARG002  independent of the padding ID
        """Return the position ID of the first token."""
        return FIRST_POSITION

    def num_token_types(self, ctx: Context) -> int:  # noqa: ARG002  independent of config.json
        """Return 0: the model has no token type embeddings."""
        return 0

    def build_position_bias(self, ctx: Context) -> RelativePositionBias:
        """Build the relative position bias, which all layers share.

        Raises:
            CheckpointError: If config.json has a different number of buckets.
        """
        count = ctx.config.get("relative_attention_num_buckets", NUM_BUCKETS)
        if count != NUM_BUCKETS:
            message = f"config.json: unsupported relative_attention_num_buckets {count!r}. Supported: {NUM_BUCKETS}"
            raise CheckpointError(message)
        return RelativePositionBias(num_heads=ctx.config.num_attention_heads)


class MPNetForSequenceClassification(TanhClassifier, MPNetModel):
    """MPNet, then ``out_proj(tanh(dense(x)))``, on the first token (``classify``) or every token."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *MPNetModel.weight_names,
        (r"classifier\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.out_proj\.(weight|bias)", r"classifier.output.\1"),
    )


class MPNetForTokenClassification(Classifier, MPNetModel):
    """MPNet with a linear classifier of each token."""
