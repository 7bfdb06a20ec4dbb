"""InternLM2Model and InternLM2ForRewardModel: Llama with query, key and value in one map (arXiv 2403.17297)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.errors import CheckpointError
from millpond.nn import Linear
from millpond.nn.placement import Placement
from millpond_models.classifier import Classifier
from millpond_models.decoder import DecoderModel
from millpond_models.layers.decoder import Heads

FUSED = "attention.wqkv."
PARTS = ("wq", "wk", "wv")


class InternLM2Model(DecoderModel):
    """Of ``wqkv``, each head of keys has its heads of queries before it, and its head of values behind it."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"tok_embeddings\.weight", r"embeddings.weight"),
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
    ignored_weights: ClassVar[Sequence[str]] = (
        *DecoderModel.ignored_weights,
        r"output\.weight",
        r"v_head\..*",
        r"layers\.\d+\.attention\.rotary_emb\.inv_freq",
    )

    def attention_biases(self, ctx: Context) -> tuple[bool, bool]:
        """``bias`` is of all four maps."""
        bias = bool(ctx.config.get("bias", False))
        return bias, bias

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Placement:
        """Give the parameters their values; see ``PoolingModel``."""
        return super().load_weights(self._taken_apart(weights))

    def _taken_apart(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in weights:
            if FUSED not in name:
                yield name, tensor
                continue
            for part, rows in zip(PARTS, split_heads(tensor, self.heads(self.ctx), name), strict=True):
                yield name.replace(FUSED, f"attention.{part}."), rows


class InternLM2ForRewardModel(Classifier, InternLM2Model):
    """InternLM2 with one reward a token."""

    ignored_weights: ClassVar[Sequence[str]] = tuple(p for p in InternLM2Model.ignored_weights if "v_head" not in p)
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        *InternLM2Model.weight_names,
        (r"v_head\.weight", r"classifier.weight"),
    )

    def build_classifier(self, ctx: Context) -> nn.Module:
        """One linear map without a bias."""
        return Linear(ctx, ctx.config.hidden_size, ctx.model.num_labels, bias=False)


def split_heads(fused: Tensor, heads: Heads, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of query, key and value out of ``wqkv``.

    Args:
        fused: Groups one behind the other, each the heads of queries that share a head of keys, that, and its values.
        heads: The heads.
        name: The name of the tensor, for errors.

    Raises:
        CheckpointError: If it has another number of rows.
    """
    each = heads.queries // heads.keys
    rows = heads.keys * (each + 2) * heads.size
    if tuple(fused.shape[:1]) != (rows,):
        message = f"the checkpoint's {name!r} has the shape {list(fused.shape)}, where config.json leads to {rows} rows"
        raise CheckpointError(message)
    groups = fused.unflatten(0, (heads.keys, each + 2, heads.size))
    query, key, value = groups[:, :each], groups[:, each], groups[:, each + 1]
    return query.flatten(0, 2), key.flatten(0, 1), value.flatten(0, 1)
