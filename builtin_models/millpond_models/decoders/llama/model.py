"""LlamaModel: a decoder with optional biases (Touvron et al., 2023, arXiv 2302.13971)."""

from millpond.context import Context
from millpond_models.decoders.base import DecoderModel


class LlamaModel(DecoderModel):
    """Llama, and the many decoders with its architecture."""

    def attention_biases(self, ctx: Context) -> tuple[bool, bool]:
        """Return ``attention_bias`` for all four projections."""
        bias = bool(ctx.config.get("attention_bias", False))
        return bias, bias

    def feed_forward_bias(self, ctx: Context) -> bool:
        """Return ``mlp_bias``."""
        return bool(ctx.config.get("mlp_bias", False))
