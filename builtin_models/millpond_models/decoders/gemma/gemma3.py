"""Gemma3TextModel: the text model of Gemma 3, with local and global attention layers (arXiv 2503.19786)."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch
from millpond.types.config import CheckpointConfig
from millpond_models.decoders.base import norm_eps
from millpond_models.decoders.gemma.gemma2 import Gemma2Model
from millpond_models.layers.decoder import Heads
from millpond_models.layers.layer_types import FULL, SLIDING, read_layer_types
from millpond_models.layers.rms_norm import OffsetRMSNorm
from millpond_models.layers.rotary import Rotary

DEFAULT_PATTERN = 6
# Layer type: the key of its rotary base in config.json, and the default.
THETAS: Mapping[str, tuple[str, float]] = MappingProxyType(
    {FULL: ("rope_theta", 1_000_000.0), SLIDING: ("rope_local_base_freq", 10_000.0)}
)


class Gemma3TextModel(Gemma2Model):
    """The text model of Gemma 3, and EmbeddingGemma, which is bidirectional (arXiv 2509.20354)."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.layer_types = self.read_layer_types(ctx)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden_size]."""
        rotations = {layer_type: rotary(batch) for layer_type, rotary in self.rotary.named_children()}
        hidden_states = self.embed(batch)
        for layer, layer_type in zip(self.layers, self.layer_types, strict=True):
            hidden_states = layer(hidden_states, rotations[layer_type], batch)
        normed: Tensor = self.norm(hidden_states)
        return normed

    def build_rotary(self, ctx: Context, heads: Heads) -> nn.Module:
        """Build one rotary embedding per layer type."""
        types = dict.fromkeys(self.read_layer_types(ctx))
        return nn.ModuleDict({layer_type: build_rotary(ctx, layer_type, heads.head_dim) for layer_type in types})

    def read_layer_types(self, ctx: Context) -> tuple[str, ...]:
        """Return the attention type of each layer: ``layer_types``, by default full attention in every sixth layer."""
        config = ctx.config
        every = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or DEFAULT_PATTERN
        return read_layer_types(ctx, every=every, first=every - 1)

    def build_head_norm(self, ctx: Context, size: int) -> OffsetRMSNorm:
        """Build the norm of query and key heads."""
        return OffsetRMSNorm(ctx, size, norm_eps(ctx))

    def softcap(self, ctx: Context) -> float | None:  # noqa: ARG002  transformers ignores attn_logit_softcapping too
        """Return None: the scores of Gemma 3 have no cap."""
        return None

    def attention_window(self, ctx: Context, layer: int, *, causal: bool) -> int | None:
        """Return the window of ``DecoderModel``, halved for bidirectional attention: half of it is on each side."""
        window = super().attention_window(ctx, layer, causal=causal)
        if window is None or not ctx.config.get("use_bidirectional_attention"):
            return window
        return window // 2


def build_rotary(ctx: Context, layer_type: str, head_dim: int) -> Rotary:
    """Build the rotary embedding of a layer type from its part of ``rope_parameters``, or from older keys.

    ``rope_scaling`` applies to layers with full attention only.
    """
    config = ctx.config
    key, default = THETAS[layer_type]
    options: dict[str, Any] = {
        "rope_theta": config.get(key) or default,
        **((config.get("rope_parameters") or {}).get(layer_type) or {}),
        **((config.get("rope_scaling") or {}) if layer_type == FULL else {}),
    }
    values = {**config.to_dict(), "rope_parameters": options, "rope_scaling": None}
    return Rotary(replace(ctx, config=CheckpointConfig(values)), head_dim=head_dim)
