"""MPNetModel: BERT whose layers share a learnt bias for distances (Song et al., 2020, arXiv 2004.09297)."""

from collections.abc import Sequence
from typing import ClassVar

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_models.encoders.bert.model import BertModel
from millpond_models.heads.classifier import Classifier, TanhClassifier
from millpond_models.layers.distances import BUCKETS, RelativeBuckets

FIRST_POSITION = 2  # behind the padding id of its training, though config.json may have another


class MPNetModel(BertModel):
    """MPNet, such as all-mpnet-base-v2: positions start at 2, and there are no segments."""

    weight_prefixes = ("mpnet.", "model.")
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"encoder\.layer\.(\d+)\.attention\.attn\.q\.(\w+)", r"layers.\1.attention.qkv.\2@0"),
        (r"encoder\.layer\.(\d+)\.attention\.attn\.k\.(\w+)", r"layers.\1.attention.qkv.\2@1"),
        (r"encoder\.layer\.(\d+)\.attention\.attn\.v\.(\w+)", r"layers.\1.attention.qkv.\2@2"),
        (r"encoder\.layer\.(\d+)\.attention\.attn\.o\.(\w+)", r"layers.\1.attention.output.\2"),
        (r"encoder\.layer\.(\d+)\.attention\.LayerNorm\.(\w+)", r"layers.\1.attention_norm.\2"),
        (r"encoder\.relative_attention_bias\.weight", r"by_distance.weight"),
        *BertModel.weight_names,
    )

    def first_position(self, ctx: Context) -> int:  # noqa: ARG002  it is the same, whatever the padding id is
        """The row of the position table that the first token of a sequence gets."""
        return FIRST_POSITION

    def num_segments(self, ctx: Context) -> int:  # noqa: ARG002  it has none, whatever config.json says
        """No table of segments."""
        return 0

    def build_by_distance(self, ctx: Context) -> RelativeBuckets:
        """The biases of distances, which all layers share.

        Raises:
            CheckpointError: If config.json asks for another number of buckets.
        """
        count = ctx.config.get("relative_attention_num_buckets", BUCKETS)
        if count != BUCKETS:
            message = f"config.json asks for relative_attention_num_buckets {count!r}; MPNet has {BUCKETS}"
            raise CheckpointError(message)
        return RelativeBuckets(num_heads=ctx.config.num_attention_heads)


class MPNetForSequenceClassification(TanhClassifier, MPNetModel):
    """MPNet, then ``out_proj(tanh(dense(x)))``; of the first token for ``classify``, else of each."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *MPNetModel.weight_names,
        (r"classifier\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.out_proj\.(weight|bias)", r"classifier.output.\1"),
    )


class MPNetForTokenClassification(Classifier, MPNetModel):
    """MPNet with a linear classifier of each token."""
