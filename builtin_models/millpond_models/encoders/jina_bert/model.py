"""JinaBertModel: BERT with ALiBi and GLU (Günther et al., 2023, arXiv 2310.19923).

There are two layouts with the same keys in config.json: jina-embeddings-v2, and jina-embeddings-v2-base-code, which
also normalizes queries and keys. The modelling code of the latter is named ``jina-bert-v2-qk-post-norm``.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from millpond.context import Context
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_models.encoders.bert.model import BertModel, check_positions
from millpond_models.encoders.jina_bert.attention import DoubleNormEncoderLayer, NormedSelfAttention
from millpond_models.heads.classifier import TanhClassifier
from millpond_models.layers.encoder import FeedForwardProtocol, PostNormEncoderLayer, SelfAttention
from millpond_models.layers.gated_encoder import GatedEncoderFeedForward, up_and_gate
from millpond_models.layers.position_bias import Alibi

ALIBI, ABSOLUTE = "alibi", "absolute"
QK_NORM_MARKER = "qk-post-norm"
GATES: Mapping[str, str] = MappingProxyType({"geglu": "gelu", "reglu": "relu"})
UP_GATED = up_and_gate(r"(.*\.mlp)\.up_gated_layer\.weight")


class JinaBertModel(BertModel):
    """Jina's BERT; ``feed_forward_type`` selects the gate of feed-forward networks, "original" for none."""

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
        """Check the position type; the model has no rotary embedding.

        Raises:
            CheckpointError: If ``position_embedding_type`` is not supported.
        """
        check_positions(ctx, type(self).__name__, ABSOLUTE, ALIBI)

    def max_positions(self, ctx: Context) -> int | None:
        """Return the rows of the position embeddings; None with ALiBi."""
        return None if is_alibi(ctx) else super().max_positions(ctx)

    def build_position_bias(self, ctx: Context) -> Alibi | None:
        """Build ALiBi if config.json requests it."""
        return Alibi(ctx, num_heads=ctx.config.num_attention_heads) if is_alibi(ctx) else None

    def build_attention(self, ctx: Context) -> SelfAttention:
        """Build the attention of a layer, with query and key norms if the layout has them."""
        if not has_qk_norms(ctx.config):
            return super().build_attention(ctx)
        return NormedSelfAttention(
            ctx,
            size=ctx.config.hidden_size,
            num_heads=ctx.config.num_attention_heads,
            eps=norm_eps(ctx),
            position_bias=self.position_bias is not None,
        )

    def build_feed_forward(self, ctx: Context, layer: int) -> FeedForwardProtocol:
        """Build the feed-forward network of a layer.

        Raises:
            CheckpointError: If ``feed_forward_type`` is unknown.
        """
        gate = ctx.config.get("feed_forward_type", "original")
        if gate == "original":
            return super().build_feed_forward(ctx, layer)
        if gate not in GATES:
            message = f"config.json: unknown feed_forward_type {gate!r}. Available: original, {', '.join(GATES)}"
            raise CheckpointError(message)
        return GatedEncoderFeedForward(
            ctx,
            size=ctx.config.hidden_size,
            inner_size=ctx.config.intermediate_size,
            activation=GATES[gate],
            bias=False,
            down_bias=True,
        )

    def build_layer(self, ctx: Context, layer: int) -> PostNormEncoderLayer:
        """Build a layer."""
        if not has_qk_norms(ctx.config):
            return super().build_layer(ctx, layer)
        return DoubleNormEncoderLayer(
            ctx,
            attention=self.build_attention(ctx),
            feed_forward=self.build_feed_forward(ctx, layer),
            size=ctx.config.hidden_size,
            eps=norm_eps(ctx),
        )


class JinaBertForSequenceClassification(TanhClassifier, JinaBertModel):
    """Jina's BERT with its pretraining pooler, ``tanh(dense(x))``, and a linear classifier."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *JinaBertModel.weight_names,
        (r"pooler\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = tuple(
        pattern for pattern in JinaBertModel.ignored_weights if not pattern.startswith("pooler")
    )


def is_alibi(ctx: Context) -> bool:
    """Return True if the model has ALiBi instead of position embeddings."""
    return bool(ctx.config.get("position_embedding_type") == ALIBI)


def norm_eps(ctx: Context) -> float:
    """Return the epsilon of LayerNorm."""
    return float(ctx.config.get("layer_norm_eps", 1e-12))


def has_qk_norms(config: CheckpointConfig) -> bool:
    """Return True if queries and keys are normalized, from the name of the modelling code, which is not executed."""
    names = [config.get("_name_or_path"), *(config.get("auto_map") or {}).values()]
    return any(QK_NORM_MARKER in name for name in names if isinstance(name, str))
