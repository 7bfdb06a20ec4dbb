"""GemmaModel: a decoder with scaled embeddings, and norms that are kept as offsets from 1 (arXiv 2403.08295)."""

import torch
from torch import Tensor

from millpond.context import Context
from millpond.nn import PackedBatch
from millpond_models.decoders.base import DecoderModel, norm_eps
from millpond_models.layers.rms_norm import OffsetRMSNorm, RMSNorm

ACTIVATION = "gelu_pytorch_tanh"


class GemmaModel(DecoderModel):
    """Gemma, the first."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        # Rounded as in the training: in 16 bits it is another number than in 32.
        self.scale = torch.tensor(ctx.config.hidden_size**0.5, dtype=ctx.dtype, device="cpu").item()

    def embed(self, batch: PackedBatch) -> Tensor:
        """Embeddings times the root of their dimensions: [num_tokens, hidden]."""
        return super().embed(batch) * self.scale

    def default_head_dim(self, ctx: Context) -> int:  # noqa: ARG002  it does not follow from the hidden size
        """The dimensions of a head where config.json has no ``head_dim``."""
        return 256

    def is_causal(self, ctx: Context) -> bool:
        """Not where ``use_bidirectional_attention`` or ``is_causal`` says otherwise."""
        return super().is_causal(ctx) and not ctx.config.get("use_bidirectional_attention")

    def attention_biases(self, ctx: Context) -> tuple[bool, bool]:
        """``attention_bias`` is of all four maps."""
        bias = bool(ctx.config.get("attention_bias", False))
        return bias, bias

    def activation(self, ctx: Context) -> str:
        """The first files say ``gelu``, and mean its approximation, with which the models were trained."""
        name: str = ctx.config.get("hidden_act", ACTIVATION)
        return ACTIVATION if name == "gelu" else name

    def build_norm(self, ctx: Context, size: int) -> RMSNorm:
        """A norm whose weights are offsets from 1."""
        return OffsetRMSNorm(ctx, size, norm_eps(ctx))
