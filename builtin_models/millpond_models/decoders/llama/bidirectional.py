"""LlamaBidirectionalModel: Llama with bidirectional attention."""

from millpond.context import Context
from millpond_models.decoders.llama.model import LlamaModel


class LlamaBidirectionalModel(LlamaModel):
    """Bidirectional Llama, such as NVIDIA's embedding models and rerankers (Moreira et al., 2024, arXiv 2407.15831)."""

    def is_causal(self, ctx: Context) -> bool:  # noqa: ARG002  config.json cannot change it
        """Return False."""
        return False
