"""Gemma3TextModel: Gemma whose layers attend to a window or to all, the text part of Gemma 3 (arXiv 2503.19786)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor, nn

from millpond.config import CheckpointConfig
from millpond.context import Context
from millpond.errors import CheckpointError
from millpond.nn import PackedBatch
from millpond_models.decoder import norm_eps
from millpond_models.gemma import ACTIVATION, GemmaModel
from millpond_models.layers.decoder import Heads, NormedDecoderLayer
from millpond_models.layers.rms_norm import OffsetRMSNorm
from millpond_models.layers.rotary import Rotary

SLIDING, FULL = "sliding_attention", "full_attention"
DEFAULT_WINDOW, DEFAULT_PATTERN, DEFAULT_SCALAR = 4096, 6, 256
# kind of layer: the key of config.json that says the base of its frequencies, and the base where it does not
THETAS: Mapping[str, tuple[str, float]] = MappingProxyType(
    {FULL: ("rope_theta", 1_000_000.0), SLIDING: ("rope_local_base_freq", 10_000.0)}
)


class Gemma3TextModel(GemmaModel):
    """Gemma 3 without its eyes, such as EmbeddingGemma, which attends in both directions (arXiv 2509.20354)."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"layers\.(\d+)\.post_attention_layernorm\.weight", r"layers.\1.attention_post_norm.weight"),
        (r"layers\.(\d+)\.pre_feedforward_layernorm\.weight", r"layers.\1.feed_forward_norm.weight"),
        (r"layers\.(\d+)\.post_feedforward_layernorm\.weight", r"layers.\1.feed_forward_post_norm.weight"),
        *GemmaModel.weight_names,
    )

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.kinds = layer_kinds(ctx)

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
        return nn.ModuleDict({kind: build_rotary(ctx, kind, heads.size) for kind in dict.fromkeys(layer_kinds(ctx))})

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

    def build_head_norm(self, ctx: Context, size: int) -> OffsetRMSNorm:
        """Each head of query and key is normalised."""
        return OffsetRMSNorm(size, norm_eps(ctx))

    def attention_scale(self, ctx: Context) -> float:
        """``query_pre_attn_scalar ** -0.5``.

        Raises:
            CheckpointError: If that is no positive number.
        """
        scalar = ctx.config.get("query_pre_attn_scalar", DEFAULT_SCALAR)
        if isinstance(scalar, bool) or not isinstance(scalar, int | float) or scalar <= 0:
            message = f"config.json: query_pre_attn_scalar must be a positive number; got {scalar!r}"
            raise CheckpointError(message)
        return float(scalar**-0.5)

    def sliding_window(self, ctx: Context, layer: int) -> int | None:
        """``sliding_window`` in the layers that have one."""
        if layer_kinds(ctx)[layer] == FULL:
            return None
        window: int | None = ctx.config.get("sliding_window", DEFAULT_WINDOW)
        return window

    def reach(self, ctx: Context, layer: int, *, causal: bool) -> int | None:
        """Where ``use_bidirectional_attention`` is set, half of a window lies on each side of a token."""
        reached = super().reach(ctx, layer, causal=causal)
        if reached is None or not ctx.config.get("use_bidirectional_attention"):
            return reached
        return reached // 2

    def activation(self, ctx: Context) -> str:
        """``hidden_activation``."""
        name: str = ctx.config.get("hidden_activation") or ACTIVATION
        return name


def layer_kinds(ctx: Context) -> tuple[str, ...]:
    """Whether each layer attends to a window or to all: by ``layer_types``, else every sixth to all.

    Raises:
        CheckpointError: If config.json does not say so of each layer.
    """
    config = ctx.config
    count, kinds = config.num_hidden_layers, config.get("layer_types")
    every = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or DEFAULT_PATTERN
    if kinds is None:
        return tuple(SLIDING if layer % every else FULL for layer in range(1, count + 1))
    if len(kinds) != count or set(kinds) - {SLIDING, FULL}:
        message = (
            f"config.json: layer_types must say {SLIDING!r} or {FULL!r} for each of {count} layers; got {list(kinds)}"
        )
        raise CheckpointError(message)
    return tuple(kinds)


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
