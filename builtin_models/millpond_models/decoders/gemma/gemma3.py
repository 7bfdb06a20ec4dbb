"""Gemma3TextModel: Gemma whose layers attend to a window or to all, the text part of Gemma 3 (arXiv 2503.19786)."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import PackedBatch
from millpond.types.config import CheckpointConfig
from millpond_models.decoders.base import norm_eps
from millpond_models.decoders.gemma.gemma2 import Gemma2Model, positive
from millpond_models.layers.decoder import Heads
from millpond_models.layers.layer_kinds import FULL, SLIDING, layer_kinds
from millpond_models.layers.rms_norm import OffsetRMSNorm
from millpond_models.layers.rotary import Rotary

DEFAULT_PATTERN = 6
# kind of layer: the key of config.json that says the base of its frequencies, and the base where it does not
THETAS: Mapping[str, tuple[str, float]] = MappingProxyType(
    {FULL: ("rope_theta", 1_000_000.0), SLIDING: ("rope_local_base_freq", 10_000.0)}
)


class Gemma3TextModel(Gemma2Model):
    """Gemma 3 without its eyes, such as EmbeddingGemma, which attends in both directions (arXiv 2509.20354)."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.kinds = self.layer_kinds(ctx)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden]."""
        rotations = {kind: rotary(batch) for kind, rotary in self.rotary.named_children()}
        x = self.embed(batch)
        for layer, kind in zip(self.layers, self.kinds, strict=True):
            x = layer(x, rotations[kind], batch)
        normed: Tensor = self.norm(x)
        return normed

    def build_rotary(self, ctx: Context, heads: Heads) -> nn.Module:
        """Rotary positions by the kind of layer."""
        kinds = dict.fromkeys(self.layer_kinds(ctx))
        return nn.ModuleDict({kind: build_rotary(ctx, kind, heads.size) for kind in kinds})

    def layer_kinds(self, ctx: Context) -> tuple[str, ...]:
        """Whether each layer attends to a window or to all: by ``layer_types``, else every sixth to all."""
        config = ctx.config
        every = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or DEFAULT_PATTERN
        return layer_kinds(ctx, every=every, first=every - 1)

    def build_head_norm(self, ctx: Context, size: int) -> OffsetRMSNorm:
        """Each head of query and key is normalised."""
        return OffsetRMSNorm(ctx, size, norm_eps(ctx))

    def softcap(self, ctx: Context) -> float | None:
        """``attn_logit_softcapping``, which Gemma 3 has done without.

        Raises:
            CheckpointError: If that is no positive number.
        """
        softcap = ctx.config.get("attn_logit_softcapping")
        return None if softcap is None else positive("attn_logit_softcapping", softcap)

    def attention_window(self, ctx: Context, layer: int, *, causal: bool) -> int | None:
        """Where ``use_bidirectional_attention`` is set, half of a window lies on each side of a token."""
        reached = super().attention_window(ctx, layer, causal=causal)
        if reached is None or not ctx.config.get("use_bidirectional_attention"):
            return reached
        return reached // 2


def build_rotary(ctx: Context, kind: str, head_dim: int) -> Rotary:
    """The rotary positions of a kind of layer, by its part of ``rope_parameters``, else by the older keys.

    ``rope_scaling`` is of the layers that attend to all.
    """
    config = ctx.config
    key, default = THETAS[kind]
    options: dict[str, Any] = {
        "rope_theta": config.get(key) or default,
        **((config.get("rope_parameters") or {}).get(kind) or {}),
        **((config.get("rope_scaling") or {}) if kind == FULL else {}),
    }
    values = {**config.to_dict(), "rope_parameters": options, "rope_scaling": None}
    return Rotary(replace(ctx, config=CheckpointConfig(values)), head_dim=head_dim)
