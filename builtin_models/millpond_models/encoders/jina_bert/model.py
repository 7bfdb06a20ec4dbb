"""JinaBertModel: BERT with linear biases for distances and gates (Günther et al., 2023, arXiv 2310.19923).

It comes in two layouts, whose config.json look alike: that of jina-embeddings-v2, and that of its model for code, which
normalises queries and keys too, and whose own code is known as ``jina-bert-v2-qk-post-norm``.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from millpond.context import Context
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_models.encoders.bert.model import BertModel, check_positions
from millpond_models.encoders.jina_bert.attention import NormedSelfAttention, TwiceNormedEncoderLayer
from millpond_models.heads.classifier import TanhClassifier
from millpond_models.layers.distances import Alibi
from millpond_models.layers.encoder import FeedForwardProtocol, PostNormEncoderLayer, SelfAttention
from millpond_models.layers.gated_encoder import GatedEncoderFeedForward, up_and_gate

ALIBI, ABSOLUTE = "alibi", "absolute"
WITH_NORMS = "qk-post-norm"
GATES: Mapping[str, str] = MappingProxyType({"geglu": "gelu", "reglu": "relu"})
UP_GATED = up_and_gate(r"(.*\.mlp)\.up_gated_layer\.weight")


class JinaBertModel(BertModel):
    """Jina's BERT; ``feed_forward_type`` says by what feed-forward halves are gated, "original" that they are not."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"encoder\.layer\.(\d+)\.mlp\.gated_layers\.weight", r"layers.\1.feed_forward.gate_up.weight"),
        (r"encoder\.layer\.(\d+)\.mlp\.wo\.(\w+)", r"layers.\1.feed_forward.down.\2"),
        (r"encoder\.layer\.(\d+)\.mlp\.layernorm\.(\w+)", r"layers.\1.feed_forward_norm.\2"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.layer_norm_q\.(\w+)", r"layers.\1.attention.query_norm.\2"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.layer_norm_k\.(\w+)", r"layers.\1.attention.key_norm.\2"),
        (r"encoder\.layer\.(\d+)\.layer_norm_1\.(\w+)", r"layers.\1.second_norm.\2"),
        (r"encoder\.layer\.(\d+)\.layer_norm_2\.(\w+)", r"layers.\1.feed_forward_norm.\2"),
        (r"encoder\.layer\.(\d+)\.mlp\.gate\.weight", r"layers.\1.feed_forward.gate_up.weight@0"),
        (r"encoder\.layer\.(\d+)\.mlp\.up\.weight", r"layers.\1.feed_forward.gate_up.weight@1"),
        (r"encoder\.layer\.(\d+)\.mlp\.down_layer\.(\w+)", r"layers.\1.feed_forward.down.\2"),
        *BertModel.weight_names,
    )
    weight_transforms = (UP_GATED,)

    def build_rotary(self, ctx: Context) -> None:
        """No positions by rotation.

        Raises:
            CheckpointError: If config.json asks for positions of another kind.
        """
        check_positions(ctx, type(self).__name__, ABSOLUTE, ALIBI)

    def max_positions(self, ctx: Context) -> int | None:
        """The rows of the position table; None where attention knows the distances."""
        return None if is_alibi(ctx) else super().max_positions(ctx)

    def build_by_distance(self, ctx: Context) -> Alibi | None:
        """Biases that fall with the distance, where config.json asks for them."""
        return Alibi(ctx, num_heads=ctx.config.num_attention_heads) if is_alibi(ctx) else None

    def build_attention(self, ctx: Context) -> SelfAttention:
        """The attention of a layer, with norms of query and key in the layout that has them."""
        if not has_norms(ctx.config):
            return super().build_attention(ctx)
        return NormedSelfAttention(
            ctx,
            size=ctx.config.hidden_size,
            num_heads=ctx.config.num_attention_heads,
            eps=norm_eps(ctx),
            by_distance=self.by_distance is not None,
        )

    def build_feed_forward(self, ctx: Context, layer: int) -> FeedForwardProtocol:
        """The feed-forward half of a layer.

        Raises:
            CheckpointError: If config.json asks for one that is not known here.
        """
        kind = ctx.config.get("feed_forward_type", "original")
        if kind == "original":
            return super().build_feed_forward(ctx, layer)
        if kind not in GATES:
            message = f"config.json asks for feed_forward_type {kind!r}; known are original, {', '.join(GATES)}"
            raise CheckpointError(message)
        return GatedEncoderFeedForward(
            ctx,
            size=ctx.config.hidden_size,
            inner_size=ctx.config.intermediate_size,
            activation=GATES[kind],
            bias=False,
            down_bias=True,
        )

    def build_layer(self, ctx: Context, layer: int) -> PostNormEncoderLayer:
        """A layer."""
        if not has_norms(ctx.config):
            return super().build_layer(ctx, layer)
        return TwiceNormedEncoderLayer(
            ctx,
            attention=self.build_attention(ctx),
            feed_forward=self.build_feed_forward(ctx, layer),
            size=ctx.config.hidden_size,
            eps=norm_eps(ctx),
        )


class JinaBertForSequenceClassification(TanhClassifier, JinaBertModel):
    """Jina's BERT, then the pooler of its training, ``tanh(dense(x))``, then a linear classifier."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *JinaBertModel.weight_names,
        (r"pooler\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = tuple(
        pattern for pattern in JinaBertModel.ignored_weights if not pattern.startswith("pooler")
    )


def is_alibi(ctx: Context) -> bool:
    """Whether attention knows the distances, in the place of a table of positions."""
    return bool(ctx.config.get("position_embedding_type") == ALIBI)


def norm_eps(ctx: Context) -> float:
    """What norms add to the variance."""
    return float(ctx.config.get("layer_norm_eps", 1e-12))


def has_norms(config: CheckpointConfig) -> bool:
    """Whether queries and keys are normalised: where config.json names the code that does, which nobody runs."""
    named = [config.get("_name_or_path"), *(config.get("auto_map") or {}).values()]
    return any(WITH_NORMS in name for name in named if isinstance(name, str))
