"""MistralModel: a decoder whose layers all attend to a sliding window (Jiang et al., 2023, arXiv 2310.06825)."""

from millpond.context import Context
from millpond_models.decoders.base import DecoderModel

DEFAULT_WINDOW = 4096


class MistralModel(DecoderModel):
    """Mistral; later ones have null for a window, and attend to all."""

    def sliding_window(self, ctx: Context, layer: int) -> int | None:  # noqa: ARG002  all layers have it
        """``sliding_window``, the same in all layers."""
        window: int | None = ctx.config.get("sliding_window", DEFAULT_WINDOW)
        return window
