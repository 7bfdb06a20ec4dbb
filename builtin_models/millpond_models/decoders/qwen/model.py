"""Qwen2Model (Yang et al., 2024, arXiv 2407.10671) and Qwen3Model (Yang et al., 2025, arXiv 2505.09388)."""

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_models.decoders.base import DecoderModel, norm_eps
from millpond_models.layers.layer_types import FULL, SLIDING
from millpond_models.layers.rms_norm import RMSNorm

DEFAULT_WINDOW, DEFAULT_FULL_LAYERS = 4096, 28


class QwenModel(DecoderModel):
    """A decoder with an optional sliding window in some layers."""

    def sliding_window(self, ctx: Context, layer: int) -> int | None:
        """Return ``sliding_window`` for the layers listed in ``layer_types``, or from ``max_window_layers`` on.

        Raises:
            CheckpointError: If ``layer_types`` does not contain the layer's type.
        """
        config = ctx.config
        if not config.get("use_sliding_window", False):
            return None
        types = config.get("layer_types")
        first = config.get("max_window_layers", DEFAULT_FULL_LAYERS)
        layer_type: object = SLIDING if layer >= first else FULL
        if types is not None:
            layer_type = types[layer] if layer < len(types) else None
        if layer_type not in (SLIDING, FULL):
            message = f"config.json: unknown layer_types[{layer}] {layer_type!r}. Available: {SLIDING}, {FULL}"
            raise CheckpointError(message)
        window: int | None = config.get("sliding_window", DEFAULT_WINDOW)
        return window if layer_type == SLIDING else None


class Qwen2Model(QwenModel):
    """Qwen2 and Qwen2.5, with a bias of query, key and value."""

    def attention_biases(self, ctx: Context) -> tuple[bool, bool]:  # noqa: ARG002  config.json cannot change it
        """Return True for query, key and value, and False for the output projection."""
        return True, False


class Qwen3Model(QwenModel):
    """Qwen3, with norms of query and key heads and a separate head dimension."""

    def default_head_dim(self, ctx: Context) -> int:  # noqa: ARG002  independent of the hidden size
        """Return the head dimension for a config.json without ``head_dim``."""
        return 128

    def attention_biases(self, ctx: Context) -> tuple[bool, bool]:
        """Return ``attention_bias`` for all four projections."""
        bias = bool(ctx.config.get("attention_bias", False))
        return bias, bias

    def build_head_norm(self, ctx: Context, size: int) -> RMSNorm | None:
        """Build the norm of query and key heads."""
        return RMSNorm(ctx, size, norm_eps(ctx))
