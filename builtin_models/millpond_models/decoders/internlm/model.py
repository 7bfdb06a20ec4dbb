"""InternLM2Model and InternLM2ForRewardModel: Llama with fused QKV projections (arXiv 2403.17297)."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, WeightTransform
from millpond.types.errors import CheckpointError
from millpond_models.decoders.base import DecoderModel
from millpond_models.heads.classifier import Classifier
from millpond_models.layers.decoder import Heads


class InternLM2Model(DecoderModel):
    """InternLM2; ``wqkv`` stacks, for each key head, its query heads, the key head and its value head."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"tok_embeddings\.weight", r"embed_tokens.weight"),
        (r"layers\.(\d+)\.attention_norm\.weight", r"layers.\1.attention_norm.weight"),
        (r"layers\.(\d+)\.attention\.wq\.(\w+)", r"layers.\1.attention.qkv.\2@0"),
        (r"layers\.(\d+)\.attention\.wk\.(\w+)", r"layers.\1.attention.qkv.\2@1"),
        (r"layers\.(\d+)\.attention\.wv\.(\w+)", r"layers.\1.attention.qkv.\2@2"),
        (r"layers\.(\d+)\.attention\.wo\.(\w+)", r"layers.\1.attention.output.\2"),
        (r"layers\.(\d+)\.ffn_norm\.weight", r"layers.\1.feed_forward_norm.weight"),
        (r"layers\.(\d+)\.feed_forward\.w1\.(\w+)", r"layers.\1.feed_forward.gate_up.\2@0"),
        (r"layers\.(\d+)\.feed_forward\.w3\.(\w+)", r"layers.\1.feed_forward.gate_up.\2@1"),
        (r"layers\.(\d+)\.feed_forward\.w2\.(\w+)", r"layers.\1.feed_forward.down.\2"),
    )
    weight_transforms = (
        WeightTransform(
            sources=(r"(.*)\.attention\.wqkv\.(\w+)",),
            targets=tuple(rf"\1.attention.{part}.\2" for part in ("wq", "wk", "wv")),
            compute=lambda model, fused: split_heads(fused, model.heads(model.ctx)),
        ),
    )
    ignored_weights: ClassVar[Sequence[str]] = (
        *DecoderModel.ignored_weights,
        r"output\.weight",
        r"v_head\..*",
        r"layers\.\d+\.attention\.rotary_emb\.inv_freq",
    )

    def attention_biases(self, ctx: Context) -> tuple[bool, bool]:
        """Return ``bias`` for all four projections."""
        bias = bool(ctx.config.get("bias", False))
        return bias, bias


class InternLM2ForRewardModel(Classifier, InternLM2Model):
    """InternLM2 with one reward per token."""

    ignored_weights: ClassVar[Sequence[str]] = tuple(p for p in InternLM2Model.ignored_weights if "v_head" not in p)
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *InternLM2Model.weight_names,
        (r"v_head\.weight", r"classifier.weight"),
    )

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Build a linear layer without bias."""
        return Linear(ctx, ctx.config.hidden_size, ctx.model.classification.num_labels, bias=False)


def split_heads(fused: Tensor, heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    """Split the rows of ``wqkv`` into query, key and value.

    Args:
        fused: One group per key head: its query heads, the key head and the value head.
        heads: Number and size of the heads.

    Raises:
        CheckpointError: If the number of rows does not match.
    """
    queries_per_key = heads.num_query_heads // heads.num_kv_heads
    rows = heads.num_kv_heads * (queries_per_key + 2) * heads.head_dim
    if tuple(fused.shape[:1]) != (rows,):
        message = f"config.json implies {rows} rows"
        raise CheckpointError(message)
    groups = fused.unflatten(0, (heads.num_kv_heads, queries_per_key + 2, heads.head_dim))
    query, key, value = groups[:, :queries_per_key], groups[:, queries_per_key], groups[:, queries_per_key + 1]
    return query.flatten(0, 2), key.flatten(0, 1), value.flatten(0, 1)
