"""Base class of decoders: token embeddings, pre-norm layers with rotary embeddings and a final norm."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch, PoolingModel
from millpond.types.errors import CheckpointError
from millpond_models.layers.decoder import DecoderLayer, Heads, RotaryAttention
from millpond_models.layers.embeddings import TokenEmbedding
from millpond_models.layers.gated_feed_forward import GatedFeedForward
from millpond_models.layers.head_dim import head_dim
from millpond_models.layers.rms_norm import RMSNorm
from millpond_models.layers.rotary import Rotary


class DecoderModel(PoolingModel):
    """A decoder as a pooling model: hidden states after the final norm, without an LM head.

    Architectures override the methods in which they differ.
    """

    weight_prefixes = ("model.",)
    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
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
        self.embed_tokens = TokenEmbedding(ctx, config.vocab_size, config.hidden_size)
        self.rotary = self.build_rotary(ctx, heads)
        self.layers = nn.ModuleList(self.build_layer(ctx, heads, layer) for layer in range(config.num_hidden_layers))
        self.norm = self.build_norm(ctx, config.hidden_size)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden_size]."""
        rotation = self.rotary(batch)
        hidden_states = self.embed(batch)
        for layer in self.layers:
            hidden_states = layer(hidden_states, rotation, batch)
        normed: Tensor = self.norm(hidden_states)
        return normed

    def shares_prefixes(self) -> bool:
        """Return True if all layers attend causally, and no rotation depends on the length of the sequence."""
        rotaries = [module for module in self.rotary.modules() if not isinstance(module, nn.ModuleDict)]
        mixers = [layer.attention for layer in self.layers]
        return all(isinstance(it, Rotary) and not it.depends_on_length for it in rotaries) and all(
            isinstance(it, RotaryAttention) and it.attention.spec.causal for it in mixers
        )

    def embed(self, batch: PackedBatch) -> Tensor:
        """Return the input of the first layer, [num_tokens, hidden_size]."""
        embedded: Tensor = self.embed_tokens(batch.input_ids)
        return embedded

    def build_rotary(self, ctx: Context, heads: Heads) -> nn.Module:
        """Build the rotary embedding; models with several override ``forward`` too."""
        return Rotary(ctx, head_dim=heads.head_dim)

    def build_layer(self, ctx: Context, heads: Heads, layer: int) -> DecoderLayer:
        """Build a layer."""
        return DecoderLayer(
            attention_norm=self.build_norm(ctx, ctx.config.hidden_size),
            attention=self.build_attention(ctx, heads, layer),
            feed_forward_norm=self.build_norm(ctx, ctx.config.hidden_size),
            feed_forward=self.build_feed_forward(ctx),
        )

    def heads(self, ctx: Context) -> Heads:
        """Return the number and the size of the attention heads."""
        num_query_heads = ctx.config.num_attention_heads
        return Heads(
            num_query_heads=num_query_heads,
            num_kv_heads=ctx.config.get("num_key_value_heads") or num_query_heads,
            head_dim=ctx.config.get("head_dim") or self.default_head_dim(ctx),
        )

    def default_head_dim(self, ctx: Context) -> int:
        """Return the head dimension for a config.json without ``head_dim``."""
        return head_dim(ctx.config.hidden_size, ctx.config.num_attention_heads)

    def is_causal(self, ctx: Context) -> bool:
        """Return True if a token attends only to itself and earlier tokens.

        Raises:
            CheckpointError: If ``is_causal`` is not a boolean.
        """
        causal = ctx.config.get("is_causal", True)
        if not isinstance(causal, bool):
            message = f"config.json: is_causal must be true or false; got {causal!r}"
            raise CheckpointError(message)
        return causal

    def sliding_window(self, ctx: Context, layer: int) -> int | None:  # noqa: ARG002  it differs among architectures
        """Return ``sliding_window``, or None for layers with full attention."""
        return None

    def attention_window(self, ctx: Context, layer: int, *, causal: bool) -> int | None:
        """Return the number of tokens attended to on each side; None for all."""
        return window_per_side(self.sliding_window(ctx, layer), causal=causal)

    def attention_biases(self, ctx: Context) -> tuple[bool, bool]:  # noqa: ARG002  it differs among architectures
        """Return two flags: query, key and value have a bias; the output projection has a bias."""
        return False, False

    def attention_scale(self, ctx: Context) -> float | None:  # noqa: ARG002  it differs among architectures
        """Return the factor of the attention scores; None for ``head_dim ** -0.5``."""
        return None

    def softcap(self, ctx: Context) -> float | None:  # noqa: ARG002  it differs among architectures
        """Return the cap of the scaled scores; None for no cap."""
        return None

    def feed_forward_bias(self, ctx: Context) -> bool:  # noqa: ARG002  it differs among architectures
        """Return True if the feed-forward layers have a bias."""
        return False

    def activation(self, ctx: Context) -> str:
        """Return the name of the feed-forward activation."""
        name: str = ctx.config.get("hidden_act", "silu")
        return name

    def build_norm(self, ctx: Context, size: int) -> RMSNorm:
        """Build a norm over the last dimension."""
        return RMSNorm(ctx, size, norm_eps(ctx))

    def build_head_norm(self, ctx: Context, size: int) -> RMSNorm | None:  # noqa: ARG002  most have none
        """Build the norm of query and key heads, applied before rotation; None for no norm."""
        return None

    def build_attention(self, ctx: Context, heads: Heads, layer: int) -> RotaryAttention:
        """Build the attention of a layer."""
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
            query_norm=self.build_head_norm(ctx, heads.head_dim),
            key_norm=self.build_head_norm(ctx, heads.head_dim),
            scale=self.attention_scale(ctx),
            softcap=self.softcap(ctx),
        )

    def build_feed_forward(self, ctx: Context) -> GatedFeedForward:
        """Build the feed-forward network of a layer."""
        return GatedFeedForward(
            ctx,
            size=ctx.config.hidden_size,
            inner_size=ctx.config.intermediate_size,
            activation=self.activation(ctx),
            bias=self.feed_forward_bias(ctx),
        )


def norm_eps(ctx: Context) -> float:
    """Return the epsilon of RMSNorm."""
    return float(ctx.config.get("rms_norm_eps", 1e-6))


def window_per_side(window: object, *, causal: bool) -> int | None:
    """Return the number of tokens attended to on each side, from ``sliding_window`` of config.json.

    A causal window includes the token itself.

    Raises:
        CheckpointError: If the window is not a positive integer.
    """
    if window is None:
        return None
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        message = f"config.json: sliding_window must be a positive number of tokens or null; got {window!r}"
        raise CheckpointError(message)
    return window - 1 if causal else window
