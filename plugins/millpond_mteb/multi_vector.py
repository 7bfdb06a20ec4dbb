"""MillpondMultiVector: a late-interaction model for mteb."""

# pyright: reportMissingImports=false
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mteb.models.model_meta import ScoringFunction
from mteb.models.sentence_transformer_wrapper import MultiVectorSearchEncoderWrapper
from sentence_transformers import SimilarityFunction

from millpond import LLM
from millpond_mteb.model import model_meta, open_model, prompts_of

CORPUS_CHUNK_SIZE = 50_000


class MillpondMultiVector(MultiVectorSearchEncoderWrapper):
    """A late-interaction model, such as ColBERT, that mteb evaluates on retrieval and reranking.

    Queries and documents are read as the checkpoint describes: with their prompts, markers and lengths. mteb searches
    the corpus with MaxSim.

    Args:
        model: A folder, a hub id, or a loaded model, which the caller closes.
        revision: The branch, tag or commit on the hub.
        device: The device of the model, such as "cuda".
        corpus_chunk_size: The number of documents that are encoded and compared at a time.
        **options: The options of ``millpond.LLM``.
    """

    def __init__(
        self,
        model: str | LLM,
        revision: str | None = None,
        device: str | None = None,
        corpus_chunk_size: int = CORPUS_CHUNK_SIZE,
        **options: Any,
    ) -> None:
        self.model = open_model(model, revision, device, options)
        self.corpus_chunk_size = corpus_chunk_size
        self._similarity = SimilarityFunction(self.model.model_config.retrieval.late_similarity)
        self.mteb_model_meta = model_meta(
            self.model,
            model if isinstance(model, str) else None,
            revision,
            loader=type(self),
            embed_dim=self.model.model_config.embedding.size,
            model_type=["late-interaction"],
            similarity_fn_name=ScoringFunction.MAX_SIM,
        )

    def _encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,  # noqa: ARG002  part of mteb's protocol
        hf_split: str,  # noqa: ARG002
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> list[torch.Tensor]:
        """Return the token vectors of each input, [num_tokens, dim]."""
        outputs = self.model.encode(
            prompts_of(inputs),
            pooling_task="token_embed",
            input_type=None if prompt_type is None else prompt_type.value,
            use_tqdm=kwargs.get("show_progress_bar", True),
            on_overflow="truncate",
        )
        return [torch.from_numpy(output.outputs.array) for output in outputs]

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Return the MaxSim of all pairs, [num_embeddings_1, num_embeddings_2]."""
        return SimilarityFunction.to_similarity_fn(self._similarity)(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Return the MaxSim of corresponding inputs, [num_embeddings]."""
        return SimilarityFunction.to_similarity_pairwise_fn(self._similarity)(embeddings1, embeddings2)
