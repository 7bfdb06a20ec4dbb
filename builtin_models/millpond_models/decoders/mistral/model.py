"""MistralModel: a decoder with a sliding window in all layers (Jiang et al., 2023, arXiv 2310.06825)."""

from millpond.context import Context
from millpond_models.decoders.base import DecoderModel

DEFAULT_WINDOW = 4096


class MistralModel(DecoderModel):
    """Mistral; newer versions set ``sliding_window`` to null and have full attention."""

    def sliding_window(self, ctx: Context, layer: int) -> int | None:  # noqa: ARG002  all layers have it
        """Return ``sliding_window``, the same for all layers."""
        window: int | None = ctx.config.get("sliding_window", DEFAULT_WINDOW)
        return window
