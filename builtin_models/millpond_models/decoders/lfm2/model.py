"""LFM2 (Liquid AI, 2025): gated short convolutions, and attention in some layers; causal, or as an encoder both ways.

The encoder attends to all tokens, and its convolutions are centred. It has no class in transformers 5.23; here it is
the decoder with these two changes, as the library's later ``Lfm2BidirectionalModel`` is documented.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_models.decoders.base import DecoderModel
from millpond_models.decoders.lfm2.short_conv import ShortConvolution
from millpond_models.layers.decoder import DecoderLayer, Heads
from millpond_models.layers.gated_feed_forward import GatedFeedForward
from millpond_models.layers.layer_kinds import FULL
from millpond_models.layers.rms_norm import RMSNorm

CONVOLUTION = "conv"  # in ``layer_types``, beside "full_attention"
EPS, WIDTH = 1e-5, 3  # where config.json does not specify them
BOTH_WAYS = "Lfm2Bidirectional"


class Lfm2Model(DecoderModel):
    """LFM2 as a pooling model: hidden states behind the final norm."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"embed_tokens\.weight", r"embeddings.weight"),
        (r"layers\.(\d+)\.operator_norm\.weight", r"layers.\1.attention_norm.weight"),
        (r"layers\.(\d+)\.self_attn\.q_proj\.weight", r"layers.\1.attention.qkv.weight@0"),
        (r"layers\.(\d+)\.self_attn\.k_proj\.weight", r"layers.\1.attention.qkv.weight@1"),
        (r"layers\.(\d+)\.self_attn\.v_proj\.weight", r"layers.\1.attention.qkv.weight@2"),
        (r"layers\.(\d+)\.self_attn\.q_layernorm\.weight", r"layers.\1.attention.query_norm.weight"),
        (r"layers\.(\d+)\.self_attn\.k_layernorm\.weight", r"layers.\1.attention.key_norm.weight"),
        (r"layers\.(\d+)\.self_attn\.out_proj\.weight", r"layers.\1.attention.output.weight"),
        (r"layers\.(\d+)\.conv\.in_proj\.(\w+)", r"layers.\1.attention.inner.\2"),
        (r"layers\.(\d+)\.conv\.conv\.(\w+)", r"layers.\1.attention.\2"),
        (r"layers\.(\d+)\.conv\.out_proj\.(\w+)", r"layers.\1.attention.output.\2"),
        (r"layers\.(\d+)\.ffn_norm\.weight", r"layers.\1.feed_forward_norm.weight"),
        (r"layers\.(\d+)\.feed_forward\.w1\.weight", r"layers.\1.feed_forward.gate_up.weight@0"),
        (r"layers\.(\d+)\.feed_forward\.w3\.weight", r"layers.\1.feed_forward.gate_up.weight@1"),
        (r"layers\.(\d+)\.feed_forward\.w2\.weight", r"layers.\1.feed_forward.down.weight"),
        (r"embedding_norm\.weight", r"norm.weight"),
    )

    def is_causal(self, ctx: Context) -> bool:
        """Unless config.json states otherwise: by ``is_causal``, its ``model_type`` or the class that it names."""
        return super().is_causal(ctx) and not _is_encoder(ctx)

    def build_norm(self, ctx: Context, size: int) -> RMSNorm:
        """A norm of rows of some size."""
        return RMSNorm(ctx, size, float(ctx.config.get("norm_eps", EPS)))

    def build_head_norm(self, ctx: Context, size: int) -> RMSNorm | None:
        """A norm of each head of query and key."""
        return self.build_norm(ctx, size)

    def build_layer(self, ctx: Context, heads: Heads, layer: int) -> DecoderLayer:
        """A layer: of attention, or of a convolution in its place."""
        if layer_kind(ctx, layer) == FULL:
            return super().build_layer(ctx, heads, layer)
        config = ctx.config
        convolution: Any = ShortConvolution(
            ctx,
            size=config.hidden_size,
            width=width(ctx),
            bias=bool(config.get("conv_bias", False)),
            centred=not self.is_causal(ctx),
            zeroes_masked=bool(config.get("conv_zero_padding", False)),
        )
        return DecoderLayer(
            attention_norm=self.build_norm(ctx, config.hidden_size),
            attention=convolution,
            feed_forward_norm=self.build_norm(ctx, config.hidden_size),
            feed_forward=self.build_feed_forward(ctx),
        )

    def build_feed_forward(self, ctx: Context) -> GatedFeedForward:
        """The feed-forward half of a layer."""
        return GatedFeedForward(
            ctx, size=ctx.config.hidden_size, inner_size=inner_size(ctx), activation=self.activation(ctx)
        )


class Lfm2BidirectionalModel(Lfm2Model):
    """LFM2 as an encoder: attention to all tokens, and centred convolutions."""

    def is_causal(self, ctx: Context) -> bool:  # noqa: ARG002  config.json has no say in it
        """Never."""
        return False


def layer_kind(ctx: Context, layer: int) -> str:
    """Whether a layer attends or convolves: by ``layer_types``, else by ``full_attn_idxs``, else all attend.

    Raises:
        CheckpointError: If ``layer_types`` names something else, or not every layer.
    """
    kinds, attending = ctx.config.get("layer_types"), ctx.config.get("full_attn_idxs")
    if kinds is None:
        return FULL if attending is None or layer in attending else CONVOLUTION
    if len(kinds) != ctx.config.num_hidden_layers or set(kinds) - {FULL, CONVOLUTION}:
        message = (
            f"config.json: layer_types must name {FULL!r} or {CONVOLUTION!r} for each of "
            f"{ctx.config.num_hidden_layers} layers; got {list(kinds)}"
        )
        raise CheckpointError(message)
    kind: str = kinds[layer]
    return kind


def inner_size(ctx: Context) -> int:
    """The dimensions inside of the feed-forward half: ``intermediate_size`` (once ``block_ff_dim``), adjusted.

    Two thirds of it, times ``block_ffn_dim_multiplier``, rounded up to a multiple of ``block_multiple_of``, unless
    ``block_auto_adjust_ff_dim`` is false.
    """
    config = ctx.config
    size = int(config.get("block_ff_dim") or config.intermediate_size)
    if not config.get("block_auto_adjust_ff_dim", True):
        return size
    size, factor = int(2 * size / 3), config.get("block_ffn_dim_multiplier", 1.0)
    if factor is None:
        return size
    multiple = int(config.get("block_multiple_of", 256))
    return -(-int(factor * size) // multiple) * multiple


def width(ctx: Context) -> int:
    """The tokens that a convolution reads.

    Raises:
        CheckpointError: If ``conv_L_cache`` is not a number of tokens.
    """
    found = ctx.config.get("conv_L_cache", WIDTH)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        message = f"config.json: conv_L_cache must be a positive number of tokens; got {found!r}"
        raise CheckpointError(message)
    return found


def _is_encoder(ctx: Context) -> bool:
    """True if config.json names the encoder, by its kind or by the class that its ``auto_map`` names."""
    config = ctx.config
    named = [*(config.get("architectures") or ()), *(config.get("auto_map") or {}).values()]
    return config.get("model_type") == "lfm2_bidirectional" or any(BOTH_WAYS in str(name) for name in named)
