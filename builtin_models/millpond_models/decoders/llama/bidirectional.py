"""LlamaBidirectionalModel: Llama that attends in both directions."""

from millpond.context import Context
from millpond_models.decoders.llama.model import LlamaModel


class LlamaBidirectionalModel(LlamaModel):
    """Llama in both directions, as NVIDIA's embedding models and rerankers are (Moreira et al., 2024, 2407.15831)."""

    def is_causal(self, ctx: Context) -> bool:  # noqa: ARG002  config.json has no say in it
        """Never."""
        return False
