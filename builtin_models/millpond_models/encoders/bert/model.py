"""BertModel: embeddings, then a stack of post-norm encoder layers (Devlin et al., 2018, arXiv 1810.04805)."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch, PoolingModel
from millpond.types.errors import CheckpointError
from millpond_models.layers.embeddings import BertEmbeddings
from millpond_models.layers.encoder import FeedForwardProtocol, PostNormEncoderLayer, SelfAttention
from millpond_models.layers.feed_forward import FeedForward
from millpond_models.layers.rotary import Rotary


class BertModel(PoolingModel):
    """BERT with absolute position embeddings; other architectures override the methods in which they differ."""

    weight_prefixes: ClassVar[Sequence[str]] = ("bert.", "model.")
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
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
        self.rotary = self.build_rotary(ctx)
        self.embeddings = BertEmbeddings(
            ctx,
            vocab_size=config.vocab_size,
            max_positions=self.max_positions(ctx),
            num_token_types=self.num_token_types(ctx),
            size=config.hidden_size,
            eps=float(config.get("layer_norm_eps", 1e-12)),
            first_position=self.first_position(ctx),
        )
        self.position_bias = self.build_position_bias(ctx)
        self.layers = nn.ModuleList(self.build_layer(ctx, layer) for layer in range(config.num_hidden_layers))

    def max_positions(self, ctx: Context) -> int | None:
        """Return the rows of the position embeddings; None for a model without them."""
        rows: int = ctx.config.max_position_embeddings
        return rows if self.rotary is None else None

    def num_token_types(self, ctx: Context) -> int:
        """Return the rows of the token type embeddings; 0 for a model without them."""
        rows: int = ctx.config.get("type_vocab_size", 2)
        return rows

    def first_position(self, ctx: Context) -> int:  # noqa: ARG002  RoBERTa's depends on it
        """Return the position ID of the first token."""
        return 0

    def build_rotary(self, ctx: Context) -> Rotary | None:
        """Build the rotary embedding; None for a model without one.

        Raises:
            CheckpointError: If ``position_embedding_type`` is not supported.
        """
        check_positions(ctx, type(self).__name__, "absolute")
        return None

    def build_position_bias(self, ctx: Context) -> nn.Module | None:  # noqa: ARG002  most have none
        """Build the module that returns the ``DistanceBias`` of a batch; None for a model without position bias."""
        return None

    def head_dim(self, ctx: Context) -> int | None:  # noqa: ARG002  some models configure it
        """Return the dimensions of a head; None for the hidden size divided by the number of heads."""
        return None

    def is_causal(self, ctx: Context) -> bool:
        """Return ``is_decoder``, which only models with absolute position embeddings support."""
        return self.rotary is None and self.position_bias is None and bool(ctx.config.get("is_decoder", False))

    def build_attention(self, ctx: Context) -> SelfAttention:
        """Build the attention of a layer."""
        return SelfAttention(
            ctx,
            size=ctx.config.hidden_size,
            num_heads=ctx.config.num_attention_heads,
            head_dim=self.head_dim(ctx),
            causal=self.is_causal(ctx),
            position_bias=self.position_bias is not None,
        )

    def build_feed_forward(self, ctx: Context, layer: int) -> FeedForwardProtocol:  # noqa: ARG002  some models have several
        """Build the feed-forward network of a layer."""
        config = ctx.config
        activation = config.get("hidden_act", "gelu")
        return FeedForward(ctx, size=config.hidden_size, inner_size=config.intermediate_size, activation=activation)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden_size]."""
        rotation = None if self.rotary is None else self.rotary(batch)
        distance_bias = None if self.position_bias is None else self.position_bias(batch)
        hidden_states: Tensor = self.embeddings(batch)
        for layer in self.layers:
            hidden_states = layer(hidden_states, batch, rotation, distance_bias)
        return hidden_states

    def build_layer(self, ctx: Context, layer: int) -> PostNormEncoderLayer:
        """Build a layer."""
        return PostNormEncoderLayer(
            ctx,
            attention=self.build_attention(ctx),
            feed_forward=self.build_feed_forward(ctx, layer),
            size=ctx.config.hidden_size,
            eps=float(ctx.config.get("layer_norm_eps", 1e-12)),
        )


def check_positions(ctx: Context, model: str, *supported: str) -> str:
    """Return ``position_embedding_type`` of config.json, by default the first supported value.

    Raises:
        CheckpointError: If the value is not supported.
    """
    stated: str = ctx.config.get("position_embedding_type", supported[0])
    if stated not in supported:
        message = (
            f"config.json: unsupported position_embedding_type {stated!r} for {model}. "
            f"Supported: {', '.join(map(repr, supported))}"
        )
        raise CheckpointError(message)
    return stated
