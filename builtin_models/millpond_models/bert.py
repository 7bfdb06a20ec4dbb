"""BertModel: embeddings, then a stack of post-norm encoder layers (Devlin et al., 2018, arXiv 1810.04805)."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.errors import CheckpointError
from millpond.nn import PackedBatch, PoolingModel
from millpond_models.layers.embeddings import BertEmbeddings
from millpond_models.layers.encoder import PostNormEncoderLayer, SelfAttention
from millpond_models.layers.feed_forward import FeedForward


class BertModel(PoolingModel):
    """BERT with absolute positions."""

    weight_prefixes = ("bert.", "model.")
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"embeddings\.word_embeddings\.weight", r"embeddings.words.weight"),
        (r"embeddings\.position_embeddings\.weight", r"embeddings.positions.weight"),
        (r"embeddings\.token_type_embeddings\.weight", r"embeddings.segments.weight"),
        (r"embeddings\.LayerNorm\.(?:weight|gamma)", r"embeddings.norm.weight"),
        (r"embeddings\.LayerNorm\.(?:bias|beta)", r"embeddings.norm.bias"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.query\.(\w+)", r"layers.\1.attention.qkv.\2@0"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.key\.(\w+)", r"layers.\1.attention.qkv.\2@1"),
        (r"encoder\.layer\.(\d+)\.attention\.self\.value\.(\w+)", r"layers.\1.attention.qkv.\2@2"),
        (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(\w+)", r"layers.\1.attention.output.\2"),
        (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.(?:weight|gamma)", r"layers.\1.attention_norm.weight"),
        (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.(?:bias|beta)", r"layers.\1.attention_norm.bias"),
        (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(\w+)", r"layers.\1.feed_forward.up.\2"),
        (r"encoder\.layer\.(\d+)\.output\.dense\.(\w+)", r"layers.\1.feed_forward.down.\2"),
        (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.(?:weight|gamma)", r"layers.\1.feed_forward_norm.weight"),
        (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.(?:bias|beta)", r"layers.\1.feed_forward_norm.bias"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (r"pooler\..*", r"cls\..*", r"lm_head\..*", r"embeddings\.position_ids")

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        config = ctx.config
        kind = config.get("position_embedding_type", "absolute")
        if kind != "absolute":
            message = (
                f"config.json asks for position_embedding_type {kind!r}; {type(self).__name__} knows 'absolute' alone"
            )
            raise CheckpointError(message)
        self.embeddings = BertEmbeddings(
            vocab_size=config.vocab_size,
            max_positions=config.max_position_embeddings,
            num_segments=config.get("type_vocab_size", 2),
            size=config.hidden_size,
            eps=float(config.get("layer_norm_eps", 1e-12)),
            first_position=self.first_position(ctx),
        )
        self.layers = nn.ModuleList(self._build_layer(ctx) for _ in range(config.num_hidden_layers))

    def first_position(self, ctx: Context) -> int:  # noqa: ARG002  RoBERTa's depends on it
        """The row of the position table that the first token of a sequence gets."""
        return 0

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden]."""
        x: Tensor = self.embeddings(batch)
        for layer in self.layers:
            x = layer(x, batch)
        return x

    def _build_layer(self, ctx: Context) -> PostNormEncoderLayer:
        config = ctx.config
        size = config.hidden_size
        return PostNormEncoderLayer(
            ctx,
            attention=SelfAttention(ctx, size=size, num_heads=config.num_attention_heads),
            feed_forward=FeedForward(
                ctx, size=size, inner_size=config.intermediate_size, activation=config.get("hidden_act", "gelu")
            ),
            size=size,
            eps=float(config.get("layer_norm_eps", 1e-12)),
        )
