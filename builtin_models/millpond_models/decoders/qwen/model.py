"""Qwen2Model (Yang et al., 2024, arXiv 2407.10671) and Qwen3Model (Yang et al., 2025, arXiv 2505.09388)."""

from millpond.context import Context
from millpond.types.errors import CheckpointError
from millpond_models.decoders.base import DecoderModel, norm_eps
from millpond_models.layers.layer_kinds import FULL, SLIDING
from millpond_models.layers.rms_norm import RMSNorm

DEFAULT_WINDOW, DEFAULT_FULL_LAYERS = 4096, 28


class QwenModel(DecoderModel):
    """A decoder of which some layers may attend to a sliding window."""

    def sliding_window(self, ctx: Context, layer: int) -> int | None:
        """``sliding_window`` in the layers of ``layer_types``, else in those from ``max_window_layers`` on.

        Raises:
            CheckpointError: If ``layer_types`` does not say what the layer is.
        """
        config = ctx.config
        if not config.get("use_sliding_window", False):
            return None
        kinds = config.get("layer_types")
        first = config.get("max_window_layers", DEFAULT_FULL_LAYERS)
        kind: object = SLIDING if layer >= first else FULL
        if kinds is not None:
            kind = kinds[layer] if layer < len(kinds) else None
        if kind not in (SLIDING, FULL):
            message = f"config.json: layer_types has {kind!r} for layer {layer}; known are {SLIDING!r} and {FULL!r}"
            raise CheckpointError(message)
        window: int | None = config.get("sliding_window", DEFAULT_WINDOW)
        return window if kind == SLIDING else None


class Qwen2Model(QwenModel):
    """Qwen2 and Qwen2.5: query, key and value have a bias."""

    def attention_biases(self, ctx: Context) -> tuple[bool, bool]:  # noqa: ARG002  config.json has no say in it
        """Of query, key and value alone."""
        return True, False


class Qwen3Model(QwenModel):
    """Qwen3: each head of query and key is normalised, and has dimensions of its own."""

    def default_head_dim(self, ctx: Context) -> int:  # noqa: ARG002  it does not follow from the hidden size
        """The dimensions of a head where config.json has no ``head_dim``."""
        return 128

    def attention_biases(self, ctx: Context) -> tuple[bool, bool]:
        """``attention_bias`` is of all four maps."""
        bias = bool(ctx.config.get("attention_bias", False))
        return bias, bias

    def build_head_norm(self, ctx: Context, size: int) -> RMSNorm | None:
        """A norm of each head."""
        return RMSNorm(ctx, size, norm_eps(ctx))
