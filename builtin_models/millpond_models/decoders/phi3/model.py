"""Phi3Model: Llama's layers with fused QKV and gate-up projections (Abdin et al., 2024, arXiv 2404.14219)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from torch import nn

from millpond.context import Context
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_models.decoders.base import DecoderModel
from millpond_models.decoders.phi3.long_rotary import ROPE_KEYS, ROPE_TYPES, LongRotary, rope_options
from millpond_models.layers.decoder import Heads
from millpond_models.layers.rms_norm import RMSNorm
from millpond_models.layers.rotary import Rotary

DEFAULT_EPS = 1e-5
PARTIAL_ROTARY = "partial_rotary_factor"


class Phi3Model(DecoderModel):
    """Phi-3, Phi-3.5 and Phi-4-mini."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"layers\.(\d+)\.self_attn\.qkv_proj\.weight", r"layers.\1.attention.qkv.weight"),
        (r"layers\.(\d+)\.mlp\.gate_up_proj\.weight", r"layers.\1.feed_forward.gate_up.weight"),
        *DecoderModel.weight_names,
    )

    def sliding_window(self, ctx: Context, layer: int) -> int | None:  # noqa: ARG002  all layers have it
        """Return ``sliding_window``, the same for all layers; None by default."""
        window: int | None = ctx.config.get("sliding_window")
        return window

    def build_norm(self, ctx: Context, size: int) -> RMSNorm:
        """Build a norm with Phi-3's default epsilon."""
        norm = super().build_norm(ctx, size)
        norm.eps = float(ctx.config.get("rms_norm_eps", DEFAULT_EPS))
        return norm

    def build_rotary(self, ctx: Context, heads: Heads) -> nn.Module:
        """Build the rotary embedding of a head, or of its first dimensions if ``partial_rotary_factor`` is set.

        Raises:
            CheckpointError: If the number of rotated dimensions is odd or less than 2, or ``rope_type`` is unknown.
        """
        config, options = ctx.config, rope_options(ctx.config)
        fraction = options.pop(PARTIAL_ROTARY, config.get(PARTIAL_ROTARY))
        rotary_dim = heads.head_dim if fraction is None else int(heads.head_dim * fraction)
        if rotary_dim < 1 or rotary_dim % 2:
            message = (
                f"config.json: {PARTIAL_ROTARY} {fraction!r} of head dimension {heads.head_dim} must be a positive "
                f"even number of dimensions; got {rotary_dim}"
            )
            raise CheckpointError(message)
        if (options.get("rope_type") or options.get("type")) in ROPE_TYPES:
            return LongRotary(ctx, head_dim=rotary_dim)
        values = {**config.to_dict(), **dict.fromkeys((*ROPE_KEYS, PARTIAL_ROTARY)), ROPE_KEYS[0]: options}
        return Rotary(replace(ctx, config=CheckpointConfig(values)), head_dim=rotary_dim)
