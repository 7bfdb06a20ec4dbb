"""LFM2 (Liquid AI, 2025): gated short convolutions and some attention layers, as a causal decoder or an encoder.

The encoder has bidirectional attention and centred convolutions. transformers 5.23 does not include it; this
implementation follows the documentation of the later ``Lfm2BidirectionalModel``.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_models.decoders.base import DecoderModel
from millpond_models.decoders.lfm2.short_conv import ShortConvolution
from millpond_models.layers.decoder import DecoderLayer, Heads
from millpond_models.layers.gated_feed_forward import GatedFeedForward
from millpond_models.layers.layer_types import FULL
from millpond_models.layers.rms_norm import RMSNorm

CONVOLUTION = "conv"  # in ``layer_types``, besides "full_attention"
DEFAULT_EPS, DEFAULT_KERNEL_SIZE = 1e-5, 3
BIDIRECTIONAL_PREFIX = "Lfm2Bidirectional"


class Lfm2Model(DecoderModel):
    """LFM2 as a pooling model: hidden states after the final norm."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
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
        """Return False if ``is_causal``, ``model_type`` or the class in config.json indicates the encoder."""
        return super().is_causal(ctx) and not _is_encoder(ctx)

    def build_norm(self, ctx: Context, size: int) -> RMSNorm:
        """Build a norm over the last dimension."""
        return RMSNorm(ctx, size, float(ctx.config.get("norm_eps", DEFAULT_EPS)))

    def build_head_norm(self, ctx: Context, size: int) -> RMSNorm | None:
        """Build the norm of query and key heads."""
        return self.build_norm(ctx, size)

    def build_layer(self, ctx: Context, heads: Heads, layer: int) -> DecoderLayer:
        """Build a layer with attention or a convolution."""
        if layer_type(ctx, layer) == FULL:
            return super().build_layer(ctx, heads, layer)
        config, causal = ctx.config, self.is_causal(ctx)
        convolution: Any = ShortConvolution(
            ctx,
            size=config.hidden_size,
            kernel_size=kernel_size(ctx),
            bias=bool(config.get("conv_bias", False)),
            centred=not causal,
            mask_padding=causal or bool(config.get("conv_zero_padding", False)),  # the decoder always masks
        )
        return DecoderLayer(
            attention_norm=self.build_norm(ctx, config.hidden_size),
            attention=convolution,
            feed_forward_norm=self.build_norm(ctx, config.hidden_size),
            feed_forward=self.build_feed_forward(ctx),
        )

    def build_feed_forward(self, ctx: Context) -> GatedFeedForward:
        """Build the feed-forward network of a layer."""
        return GatedFeedForward(
            ctx, size=ctx.config.hidden_size, inner_size=inner_size(ctx), activation=self.activation(ctx)
        )


class Lfm2BidirectionalModel(Lfm2Model):
    """LFM2 as an encoder: bidirectional attention and centred convolutions."""

    def is_causal(self, ctx: Context) -> bool:  # noqa: ARG002  config.json cannot change it
        """Return False."""
        return False


def layer_type(ctx: Context, layer: int) -> str:
    """Return the type of a layer, from ``layer_types`` or ``full_attn_idxs``; full attention by default.

    Raises:
        CheckpointError: If ``layer_types`` has a wrong length or unknown types.
    """
    types, attending = ctx.config.get("layer_types"), ctx.config.get("full_attn_idxs")
    if types is None:
        return FULL if attending is None or layer in attending else CONVOLUTION
    if len(types) != ctx.config.num_hidden_layers or set(types) - {FULL, CONVOLUTION}:
        message = (
            f"config.json: layer_types must name {FULL!r} or {CONVOLUTION!r} for each of "
            f"{ctx.config.num_hidden_layers} layers; got {list(types)}"
        )
        raise CheckpointError(message)
    stated: str = types[layer]
    return stated


def inner_size(ctx: Context) -> int:
    """Return the inner size of the feed-forward network: ``intermediate_size`` (or ``block_ff_dim``), adjusted.

    The adjustment is two thirds, times ``block_ffn_dim_multiplier``, rounded up to a multiple of ``block_multiple_of``.
    ``block_auto_adjust_ff_dim: false`` disables it.
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


def kernel_size(ctx: Context) -> int:
    """Return the kernel size of the convolutions, in tokens.

    Raises:
        CheckpointError: If ``conv_L_cache`` is not a positive integer.
    """
    size = ctx.config.get("conv_L_cache", DEFAULT_KERNEL_SIZE)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        message = f"config.json: conv_L_cache must be a positive number of tokens; got {size!r}"
        raise CheckpointError(message)
    return size


def _is_encoder(ctx: Context) -> bool:
    """Return True if ``model_type``, ``architectures`` or ``auto_map`` of config.json names the encoder."""
    config = ctx.config
    classes = [*(config.get("architectures") or ()), *(config.get("auto_map") or {}).values()]
    return config.get("model_type") == "lfm2_bidirectional" or any(BIDIRECTIONAL_PREFIX in str(c) for c in classes)
