"""Gemma2Model: Gemma with post-norms, soft-capped scores and alternating sliding windows (arXiv 2408.00118)."""

from collections.abc import Sequence
from typing import ClassVar

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_models.decoders.gemma.gemma import DEFAULT_ACTIVATION, GemmaModel
from millpond_models.layers.decoder import Heads, NormedDecoderLayer
from millpond_models.layers.layer_types import FULL, read_layer_types

DEFAULT_WINDOW, DEFAULT_QUERY_SCALAR, DEFAULT_SOFTCAP = 4096, 256, 50.0


class Gemma2Model(GemmaModel):
    """Gemma 2, such as bge-multilingual-gemma2."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"layers\.(\d+)\.post_attention_layernorm\.weight", r"layers.\1.attention_post_norm.weight"),
        (r"layers\.(\d+)\.pre_feedforward_layernorm\.weight", r"layers.\1.feed_forward_norm.weight"),
        (r"layers\.(\d+)\.post_feedforward_layernorm\.weight", r"layers.\1.feed_forward_post_norm.weight"),
        *GemmaModel.weight_names,
    )

    def build_layer(self, ctx: Context, heads: Heads, layer: int) -> NormedDecoderLayer:
        """Build a layer with a norm before and after attention and feed-forward."""
        size = ctx.config.hidden_size
        return NormedDecoderLayer(
            attention_norm=self.build_norm(ctx, size),
            attention=self.build_attention(ctx, heads, layer),
            attention_post_norm=self.build_norm(ctx, size),
            feed_forward_norm=self.build_norm(ctx, size),
            feed_forward=self.build_feed_forward(ctx),
            feed_forward_post_norm=self.build_norm(ctx, size),
        )

    def read_layer_types(self, ctx: Context) -> tuple[str, ...]:
        """Return the attention type of each layer: ``layer_types``, by default full attention in every second layer."""
        return read_layer_types(ctx, every=2, first=1)

    def attention_scale(self, ctx: Context) -> float:
        """Return ``query_pre_attn_scalar ** -0.5``.

        Raises:
            CheckpointError: If the scalar is not a positive number.
        """
        scalar = positive("query_pre_attn_scalar", ctx.config.get("query_pre_attn_scalar", DEFAULT_QUERY_SCALAR))
        return float(scalar**-0.5)

    def softcap(self, ctx: Context) -> float | None:
        """Return ``attn_logit_softcapping``; None if it is null.

        Raises:
            CheckpointError: If it is not a positive number.
        """
        softcap = ctx.config.to_dict().get("attn_logit_softcapping", DEFAULT_SOFTCAP)
        return None if softcap is None else positive("attn_logit_softcapping", softcap)

    def sliding_window(self, ctx: Context, layer: int) -> int | None:
        """Return ``sliding_window``, or None for layers with full attention."""
        if self.read_layer_types(ctx)[layer] == FULL:
            return None
        window: int | None = ctx.config.get("sliding_window", DEFAULT_WINDOW)
        return window

    def activation(self, ctx: Context) -> str:
        """Return ``hidden_activation``."""
        name: str = ctx.config.get("hidden_activation") or DEFAULT_ACTIVATION
        return name


def positive(name: str, value: object) -> float:
    """Return a value of config.json as a float.

    Raises:
        CheckpointError: If it is not a positive number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        message = f"config.json: {name} must be a positive number; got {value!r}"
        raise CheckpointError(message)
    return float(value)
