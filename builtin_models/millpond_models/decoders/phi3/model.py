"""Phi3Model: Llama's form with one map for query, key and value, and one for gate and up (arXiv 2404.14219)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from torch import nn

from millpond.context import Context
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_models.decoders.base import DecoderModel
from millpond_models.decoders.phi3.long_rotary import KEYS, NAMES, LongRotary, rope_options
from millpond_models.layers.decoder import Heads
from millpond_models.layers.rms_norm import RMSNorm
from millpond_models.layers.rotary import Rotary

DEFAULT_EPS = 1e-5
PART = "partial_rotary_factor"


class Phi3Model(DecoderModel):
    """Phi-3, Phi-3.5 and Phi-4-mini."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"layers\.(\d+)\.self_attn\.qkv_proj\.weight", r"layers.\1.attention.qkv.weight"),
        (r"layers\.(\d+)\.mlp\.gate_up_proj\.weight", r"layers.\1.feed_forward.gate_up.weight"),
        *DecoderModel.weight_names,
    )

    def sliding_window(self, ctx: Context, layer: int) -> int | None:  # noqa: ARG002  all layers have it
        """``sliding_window``, the same in all layers; none where it is not said."""
        window: int | None = ctx.config.get("sliding_window")
        return window

    def build_norm(self, ctx: Context, size: int) -> RMSNorm:
        """A norm, which adds more to the mean of squares than others where config.json does not say."""
        norm = super().build_norm(ctx, size)
        norm.eps = float(ctx.config.get("rms_norm_eps", DEFAULT_EPS))
        return norm

    def build_rotary(self, ctx: Context, heads: Heads) -> nn.Module:
        """The rotary positions of a head or, as ``partial_rotary_factor`` says, of its first dimensions.

        Raises:
            CheckpointError: If that is not an even number of dimensions, or config.json asks for an unknown kind.
        """
        config, options = ctx.config, rope_options(ctx.config)
        part = options.pop(PART, config.get(PART))
        turned = heads.size if part is None else int(heads.size * part)
        if turned < 1 or turned % 2:
            message = f"config.json: {PART} {part!r} of heads of {heads.size} dimensions turns {turned} of them"
            raise CheckpointError(message)
        kind = options.get("rope_type") or options.get("type")
        if kind in NAMES:
            return LongRotary(ctx, head_dim=turned)
        values = {**config.to_dict(), **dict.fromkeys((*KEYS, PART)), KEYS[0]: options}
        return Rotary(replace(ctx, config=CheckpointConfig(values)), head_dim=turned)
