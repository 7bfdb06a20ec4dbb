"""What decoders share: a table of tokens, pre-norm layers with rotary positions, and a norm behind the last of them."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch, PoolingModel
from millpond.types.errors import CheckpointError
from millpond_models.layers.decoder import DecoderLayer, Heads, RotaryAttention
from millpond_models.layers.embeddings import Table
from millpond_models.layers.gated_feed_forward import GatedFeedForward
from millpond_models.layers.head_dim import head_dim
from millpond_models.layers.rms_norm import RMSNorm
from millpond_models.layers.rotary import Rotary


class DecoderModel(PoolingModel):
    """A decoder as a pooling model: hidden states behind the final norm; a head for the next token is left out.

    Subclasses say by overriding what sets their architecture apart.
    """

    weight_prefixes = ("model.",)
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"embed_tokens\.weight", r"embeddings.weight"),
        (r"layers\.(\d+)\.input_layernorm\.weight", r"layers.\1.attention_norm.weight"),
        (r"layers\.(\d+)\.self_attn\.q_proj\.(\w+)", r"layers.\1.attention.qkv.\2@0"),
        (r"layers\.(\d+)\.self_attn\.k_proj\.(\w+)", r"layers.\1.attention.qkv.\2@1"),
        (r"layers\.(\d+)\.self_attn\.v_proj\.(\w+)", r"layers.\1.attention.qkv.\2@2"),
        (r"layers\.(\d+)\.self_attn\.q_norm\.weight", r"layers.\1.attention.query_norm.weight"),
        (r"layers\.(\d+)\.self_attn\.k_norm\.weight", r"layers.\1.attention.key_norm.weight"),
        (r"layers\.(\d+)\.self_attn\.o_proj\.(\w+)", r"layers.\1.attention.output.\2"),
        (r"layers\.(\d+)\.post_attention_layernorm\.weight", r"layers.\1.feed_forward_norm.weight"),
        (r"layers\.(\d+)\.mlp\.gate_proj\.(\w+)", r"layers.\1.feed_forward.gate_up.\2@0"),
        (r"layers\.(\d+)\.mlp\.up_proj\.(\w+)", r"layers.\1.feed_forward.gate_up.\2@1"),
        (r"layers\.(\d+)\.mlp\.down_proj\.(\w+)", r"layers.\1.feed_forward.down.\2"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (
        r"lm_head\..*",
        r"score\..*",
        r"(?:layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        config = ctx.config
        heads = self.heads(ctx)
        self.embeddings = Table(config.vocab_size, config.hidden_size)
        self.rotary = self.build_rotary(ctx, heads)
        self.layers = nn.ModuleList(self.build_layer(ctx, heads, layer) for layer in range(config.num_hidden_layers))
        self.norm = self.build_norm(ctx, config.hidden_size)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden]."""
        rotation = self.rotary(batch)
        x = self.embed(batch)
        for layer in self.layers:
            x = layer(x, rotation, batch)
        normed: Tensor = self.norm(x)
        return normed

    def embed(self, batch: PackedBatch) -> Tensor:
        """What the first layer gets: [num_tokens, hidden]."""
        embedded: Tensor = self.embeddings(batch.input_ids)
        return embedded

    def build_rotary(self, ctx: Context, heads: Heads) -> nn.Module:
        """The rotary positions; where layers turn differently, ``forward`` is overridden too."""
        return Rotary(ctx, head_dim=heads.size)

    def build_layer(self, ctx: Context, heads: Heads, layer: int) -> DecoderLayer:
        """A layer."""
        return DecoderLayer(
            attention_norm=self.build_norm(ctx, ctx.config.hidden_size),
            attention=self.build_attention(ctx, heads, layer),
            feed_forward_norm=self.build_norm(ctx, ctx.config.hidden_size),
            feed_forward=self.build_feed_forward(ctx),
        )

    def heads(self, ctx: Context) -> Heads:
        """The heads of attention."""
        queries = ctx.config.num_attention_heads
        return Heads(
            queries=queries,
            keys=ctx.config.get("num_key_value_heads") or queries,
            size=ctx.config.get("head_dim") or self.default_head_dim(ctx),
        )

    def default_head_dim(self, ctx: Context) -> int:
        """The dimensions of a head where config.json has no ``head_dim``."""
        return head_dim(ctx.config.hidden_size, ctx.config.num_attention_heads)

    def is_causal(self, ctx: Context) -> bool:
        """Whether a token attends only to itself and what stands before it.

        Raises:
            CheckpointError: If config.json says neither true nor false.
        """
        causal = ctx.config.get("is_causal", True)
        if not isinstance(causal, bool):
            message = f"config.json: is_causal must be true or false; got {causal!r}"
            raise CheckpointError(message)
        return causal

    def sliding_window(self, ctx: Context, layer: int) -> int | None:  # noqa: ARG002  it differs among architectures
        """``sliding_window`` where a layer has one; None where it attends to all."""
        return None

    def attention_window(self, ctx: Context, layer: int, *, causal: bool) -> int | None:
        """The number of tokens on each side that a layer attends to; None for all."""
        return window_per_side(self.sliding_window(ctx, layer), causal=causal)

    def attention_biases(self, ctx: Context) -> tuple[bool, bool]:  # noqa: ARG002  it differs among architectures
        """Whether query, key and value have a bias, and whether the output of attention has one."""
        return False, False

    def attention_scale(self, ctx: Context) -> float | None:  # noqa: ARG002  it differs among architectures
        """What products of query and key are multiplied with; None for ``head_dim ** -0.5``."""
        return None

    def softcap(self, ctx: Context) -> float | None:  # noqa: ARG002  it differs among architectures
        """What scaled products of query and key are capped at by tanh; None for no cap."""
        return None

    def feed_forward_bias(self, ctx: Context) -> bool:  # noqa: ARG002  it differs among architectures
        """Whether the maps of the feed-forward half have a bias."""
        return False

    def activation(self, ctx: Context) -> str:
        """The name of the activation of the feed-forward half."""
        name: str = ctx.config.get("hidden_act", "silu")
        return name

    def build_norm(self, ctx: Context, size: int) -> RMSNorm:
        """A norm of rows of some size."""
        return RMSNorm(ctx, size, norm_eps(ctx))

    def build_head_norm(self, ctx: Context, size: int) -> RMSNorm | None:  # noqa: ARG002  most have none
        """A norm of each head of query or key, before it is turned; None for nothing."""
        return None

    def build_attention(self, ctx: Context, heads: Heads, layer: int) -> RotaryAttention:
        """The attention of a layer."""
        causal = self.is_causal(ctx)
        bias, output_bias = self.attention_biases(ctx)
        return RotaryAttention(
            ctx,
            size=ctx.config.hidden_size,
            heads=heads,
            causal=causal,
            window=self.attention_window(ctx, layer, causal=causal),
            bias=bias,
            output_bias=output_bias,
            query_norm=self.build_head_norm(ctx, heads.size),
            key_norm=self.build_head_norm(ctx, heads.size),
            scale=self.attention_scale(ctx),
            softcap=self.softcap(ctx),
        )

    def build_feed_forward(self, ctx: Context) -> GatedFeedForward:
        """The feed-forward half of a layer."""
        return GatedFeedForward(
            ctx,
            size=ctx.config.hidden_size,
            inner_size=ctx.config.intermediate_size,
            activation=self.activation(ctx),
            bias=self.feed_forward_bias(ctx),
        )


def norm_eps(ctx: Context) -> float:
    """What config.json has RMSNorm add to the mean of squares."""
    return float(ctx.config.get("rms_norm_eps", 1e-6))


def window_per_side(window: object, *, causal: bool) -> int | None:
    """Return the number of tokens on each side within a ``sliding_window``; a causal window counts the token itself.

    Raises:
        CheckpointError: If it is not a positive integer.
    """
    if window is None:
        return None
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        message = f"config.json: sliding_window must be a positive number of tokens or null; got {window!r}"
        raise CheckpointError(message)
    return window - 1 if causal else window
