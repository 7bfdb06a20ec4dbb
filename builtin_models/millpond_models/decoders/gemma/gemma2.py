"""Gemma2Model: Gemma with norms around each half, capped scores and windows in every other layer (arXiv 2408.00118)."""

from collections.abc import Sequence
from typing import ClassVar

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_models.decoders.gemma.gemma import ACTIVATION, GemmaModel
from millpond_models.layers.decoder import Heads, NormedDecoderLayer
from millpond_models.layers.layer_kinds import FULL, layer_kinds

DEFAULT_WINDOW, DEFAULT_SCALAR, DEFAULT_SOFTCAP = 4096, 256, 50.0


class Gemma2Model(GemmaModel):
    """Gemma 2, of which bge-multilingual-gemma2 is one."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"layers\.(\d+)\.post_attention_layernorm\.weight", r"layers.\1.attention_post_norm.weight"),
        (r"layers\.(\d+)\.pre_feedforward_layernorm\.weight", r"layers.\1.feed_forward_norm.weight"),
        (r"layers\.(\d+)\.post_feedforward_layernorm\.weight", r"layers.\1.feed_forward_post_norm.weight"),
        *GemmaModel.weight_names,
    )

    def build_layer(self, ctx: Context, heads: Heads, layer: int) -> NormedDecoderLayer:
        """A layer, with a norm before and behind each half."""
        size = ctx.config.hidden_size
        return NormedDecoderLayer(
            attention_norm=self.build_norm(ctx, size),
            attention=self.build_attention(ctx, heads, layer),
            attention_post_norm=self.build_norm(ctx, size),
            feed_forward_norm=self.build_norm(ctx, size),
            feed_forward=self.build_feed_forward(ctx),
            feed_forward_post_norm=self.build_norm(ctx, size),
        )

    def layer_kinds(self, ctx: Context) -> tuple[str, ...]:
        """Whether each layer attends to a window or to all: by ``layer_types``, else every second to all."""
        return layer_kinds(ctx, every=2, first=1)

    def attention_scale(self, ctx: Context) -> float:
        """``query_pre_attn_scalar ** -0.5``.

        Raises:
            CheckpointError: If that is no positive number.
        """
        scalar = positive("query_pre_attn_scalar", ctx.config.get("query_pre_attn_scalar", DEFAULT_SCALAR))
        return float(scalar**-0.5)

    def softcap(self, ctx: Context) -> float | None:
        """``attn_logit_softcapping``; null for none.

        Raises:
            CheckpointError: If that is no positive number.
        """
        softcap = ctx.config.to_dict().get("attn_logit_softcapping", DEFAULT_SOFTCAP)
        return None if softcap is None else positive("attn_logit_softcapping", softcap)

    def sliding_window(self, ctx: Context, layer: int) -> int | None:
        """``sliding_window`` in the layers that have one."""
        if self.layer_kinds(ctx)[layer] == FULL:
            return None
        window: int | None = ctx.config.get("sliding_window", DEFAULT_WINDOW)
        return window

    def activation(self, ctx: Context) -> str:
        """``hidden_activation``."""
        name: str = ctx.config.get("hidden_activation") or ACTIVATION
        return name


def positive(name: str, value: object) -> float:
    """A number that config.json says.

    Raises:
        CheckpointError: If it is none, or not positive.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        message = f"config.json: {name} must be a positive number; got {value!r}"
        raise CheckpointError(message)
    return float(value)
