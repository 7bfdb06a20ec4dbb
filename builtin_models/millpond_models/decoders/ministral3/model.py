"""Ministral3Model: Mistral's layers with YaRN positions and position-dependent query scaling.

Positions are scaled with YaRN (Peng et al., 2023, arXiv 2309.00071). Beyond the training length, queries are multiplied
by ``1 + beta * log(1 + floor(position / length))``, as in Llama 4. Attention is bidirectional if config.json contains
``"is_causal": false``, as in NVIDIA's Nemotron 3 Embed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from millpond.context import ModelContext
from millpond.nn import Attention, AttentionBias, AttentionSpec, PackedBatch
from millpond.types.config import CheckpointConfig
from millpond_models.decoders.base import DecoderModel
from millpond_models.layers.decoder import Heads, RotaryAttention
from millpond_models.layers.rotary import Rotary

ROPE_KEYS: Final = ("rope_parameters", "rope_scaling")
BETA: Final = "llama_4_scaling_beta"
DEFAULT_ROPE: Final[Mapping[str, Any]] = {
    "rope_type": "yarn",
    "rope_theta": 1_000_000.0,
    "factor": 16.0,
    "original_max_position_embeddings": 16384,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    BETA: 0.1,
}


class Ministral3Model(DecoderModel):
    """Ministral 3; checkpoints may have a sliding window, used by all layers."""

    rotary: Rotary

    def sliding_window(self, ctx: ModelContext, layer: int) -> int | None:  # noqa: ARG002  all layers have it
        """Return ``sliding_window``, the same for all layers; None by default."""
        window: int | None = ctx.config.get("sliding_window")
        return window

    def build_rotary(self, ctx: ModelContext, heads: Heads) -> Rotary:
        """Build the rotary embedding; the default is that of the published models."""
        if all(ctx.config.get(key) is None for key in ROPE_KEYS):
            ctx = replace(ctx, config=CheckpointConfig({**ctx.config.to_dict(), ROPE_KEYS[0]: dict(DEFAULT_ROPE)}))
        return Rotary(ctx, head_dim=heads.head_dim)

    def build_attention(self, ctx: ModelContext, heads: Heads, layer: int) -> RotaryAttention:
        """Build the attention of a layer, with query scaling if config.json contains ``llama_4_scaling_beta``."""
        attention = super().build_attention(ctx, heads, layer)
        settings = self.rotary.settings
        if settings.options.get(BETA):
            attention.attention = LongTextAttention(
                ctx,
                attention.attention.spec,
                heads.head_dim,
                beta=settings.number(BETA),
                length=settings.trained_length,
            )
        return attention


class LongTextAttention(Attention):
    """Attention with queries multiplied by ``1 + beta * log(1 + floor(position / length))``.

    Args:
        ctx: The model's context.
        spec: The attention settings.
        head_dim: Dimensions of a head.
        beta: Growth of the factor.
        length: Text length up to which the factor is 1.
    """

    def __init__(self, ctx: ModelContext, spec: AttentionSpec, head_dim: int, *, beta: float, length: float) -> None:
        super().__init__(ctx, head_dim=head_dim, causal=spec.causal, window=spec.window, scale=spec.scale)
        self.beta = beta
        self.length = length

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, bias: AttentionBias | None = None
    ) -> Tensor:
        """[num_tokens, num_heads, head_dim] three times -> [num_tokens, num_heads * head_dim]."""
        if batch.max_length > self.length:
            factor = 1 + self.beta * torch.log1p(torch.floor(batch.positions / self.length))
            query = query * factor.to(query.dtype)[:, None, None]
        return super().forward(query, key, value, batch, bias)
