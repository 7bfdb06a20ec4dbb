"""GteModel and GteNewModel: BERT with rotary embeddings and GLU (Zhang et al., 2024, arXiv 2407.19669)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_models.encoders.bert.model import BertModel, check_positions
from millpond_models.encoders.rotary_bert import head_dim_of, rotary_of
from millpond_models.encoders.transformers_names import TRANSFORMERS_NAMES
from millpond_models.heads.classifier import Classifier, TanhClassifier
from millpond_models.layers.encoder import FeedForwardProtocol
from millpond_models.layers.gated_encoder import GatedEncoderFeedForward, up_and_gate
from millpond_models.layers.rotary import Rotary

SUPPORTED: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {"layer_norm_type": (None, "layer_norm"), "logn_attention_scale": (None, False)}
)
# Defaults of ``rope_theta``: model_type is "gte" in transformers, "new" in files with the authors' code.
TRANSFORMERS_THETA, AUTHORS_THETA = 160_000.0, 10_000.0
UP_GATE = up_and_gate(r"(.*\.mlp)\.up_gate_proj\.weight")


class GteModel(BertModel):
    """BERT's layers with rotary embeddings and gated feed-forward networks; weight names may begin with ``new.``."""

    weight_prefixes = ("new.", "gte.", "model.")
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *BertModel.weight_names,
        (r"encoder\.layer\.(\d+)\.attention\.qkv_proj\.(\w+)", r"layers.\1.attention.qkv.\2"),
        (r"encoder\.layer\.(\d+)\.attention\.q_proj\.(\w+)", r"layers.\1.attention.qkv.\2@0"),
        (r"encoder\.layer\.(\d+)\.attention\.k_proj\.(\w+)", r"layers.\1.attention.qkv.\2@1"),
        (r"encoder\.layer\.(\d+)\.attention\.v_proj\.(\w+)", r"layers.\1.attention.qkv.\2@2"),
        (r"encoder\.layer\.(\d+)\.attention\.o_proj\.(\w+)", r"layers.\1.attention.output.\2"),
        (r"encoder\.layer\.(\d+)\.attn_ln\.(\w+)", r"layers.\1.attention_norm.\2"),
        (r"encoder\.layer\.(\d+)\.mlp\.gate\.weight", r"layers.\1.feed_forward.gate_up.weight@0"),
        (r"encoder\.layer\.(\d+)\.mlp\.up\.weight", r"layers.\1.feed_forward.gate_up.weight@1"),
        (r"encoder\.layer\.(\d+)\.mlp\.down_proj\.(\w+)", r"layers.\1.feed_forward.down.\2"),
        (r"encoder\.layer\.(\d+)\.mlp_ln\.(\w+)", r"layers.\1.feed_forward_norm.\2"),
        *TRANSFORMERS_NAMES,
    )
    ignored_weights: ClassVar[Sequence[str]] = (r"pooler\..*", r"classifier\..*", r"lm_head\..*")
    weight_transforms = (UP_GATE,)

    def build_rotary(self, ctx: Context) -> Rotary:
        """Build the rotary embedding.

        Raises:
            CheckpointError: If config.json requests unsupported settings.
        """
        check_positions(ctx, type(self).__name__, "rope")
        for key, supported in SUPPORTED.items():
            if ctx.config.get(key) not in supported:
                message = (
                    f"config.json: unsupported {key} {ctx.config[key]!r} for {type(self).__name__}. "
                    f"Supported: {supported[-1]!r}"
                )
                raise CheckpointError(message)
        return rotary_of(ctx, theta=TRANSFORMERS_THETA if ctx.config.get("model_type") == "gte" else AUTHORS_THETA)

    def num_token_types(self, ctx: Context) -> int:
        """Return the rows of the token type embeddings; 0 for a model without them."""
        rows: int = ctx.config.get("type_vocab_size", 1)
        return rows

    def head_dim(self, ctx: Context) -> int:
        """Return the dimensions of a head."""
        return head_dim_of(ctx)

    def build_feed_forward(self, ctx: Context, layer: int) -> FeedForwardProtocol:  # noqa: ARG002  the same in all layers
        """Build the feed-forward network of a layer; only ``down`` has a bias."""
        config = ctx.config
        return GatedEncoderFeedForward(
            ctx,
            size=config.hidden_size,
            inner_size=config.intermediate_size,
            activation=config.get("hidden_act", "gelu"),
            bias=False,
            down_bias=True,
        )


class GteForSequenceClassification(TanhClassifier, GteModel):
    """GTE with its pretraining pooler, ``tanh(dense(x))``, and a linear classifier."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *GteModel.weight_names,
        (r"pooler\.dense\.(weight|bias)", r"classifier.dense.\1"),
        (r"classifier\.(weight|bias)", r"classifier.output.\1"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (r"lm_head\..*",)


class GteForTokenClassification(Classifier, GteModel):
    """GTE with a linear classifier of each token."""

    ignored_weights: ClassVar[Sequence[str]] = (r"pooler\..*", r"lm_head\..*")
