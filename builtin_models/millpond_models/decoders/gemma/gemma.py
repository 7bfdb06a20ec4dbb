"""GemmaModel: a decoder with scaled embeddings and norm weights stored as offsets from 1 (arXiv 2403.08295)."""

import torch
from torch import Tensor

from millpond.context import Context
from millpond.nn import PackedBatch
from millpond_models.decoders.base import DecoderModel, norm_eps
from millpond_models.layers.rms_norm import OffsetRMSNorm, RMSNorm

DEFAULT_ACTIVATION = "gelu_pytorch_tanh"


class GemmaModel(DecoderModel):
    """Gemma (first version)."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        # Rounded to the model's dtype, as in training.
        self.scale = torch.tensor(ctx.config.hidden_size**0.5, dtype=ctx.dtype, device="cpu").item()

    def embed(self, batch: PackedBatch) -> Tensor:
        """Return the embeddings times the square root of the hidden size, [num_tokens, hidden_size]."""
        return super().embed(batch) * self.scale

    def default_head_dim(self, ctx: Context) -> int:  # noqa: ARG002  independent of the hidden size
        """Return the head dimension for a config.json without ``head_dim``."""
        return 256

    def is_causal(self, ctx: Context) -> bool:
        """Return False if ``use_bidirectional_attention`` is set or ``is_causal`` is false."""
        return super().is_causal(ctx) and not ctx.config.get("use_bidirectional_attention")

    def attention_biases(self, ctx: Context) -> tuple[bool, bool]:
        """Return ``attention_bias`` for all four projections."""
        bias = bool(ctx.config.get("attention_bias", False))
        return bias, bias

    def activation(self, ctx: Context) -> str:
        """Return ``hidden_act``; early files name ``gelu`` for the tanh approximation used in training."""
        name: str = ctx.config.get("hidden_act", DEFAULT_ACTIVATION)
        return DEFAULT_ACTIVATION if name == "gelu" else name

    def build_norm(self, ctx: Context, size: int) -> RMSNorm:
        """Build a norm with weights stored as offsets from 1."""
        return OffsetRMSNorm(ctx, size, norm_eps(ctx))
