"""MillpondEncoder: an embedding model for mteb."""

# pyright: reportMissingImports=false
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ScoringFunction
from sentence_transformers import SimilarityFunction
from sentence_transformers.util import quantize_embeddings

from millpond import LLM, PoolingParams
from millpond_mteb.model import model_meta, open_model, prompts_of
from millpond_mteb.task_prompts import TaskPrompts


class MillpondEncoder(AbsEncoder):
    """An embedding model that mteb evaluates: ``mteb.evaluate(MillpondEncoder(model), tasks)``.

    Texts over the maximum length are truncated, and prompts are chosen, like in mteb's wrapper of
    sentence-transformers. Embeddings are compared by the similarity function that the checkpoint names.

    Args:
        model: A folder, a hub id, or a loaded model, which the caller closes.
        revision: The branch, tag or commit on the hub.
        device: The device of the model, such as "cuda".
        model_prompts: Prompts by name of a task, type of a task, "query" or "document", or the two joined by a hyphen;
            they replace those of the checkpoint.
        embed_dim: Keep the first N dimensions, for models trained for it (Matryoshka).
        **options: The options of ``millpond.LLM``.
    """

    def __init__(
        self,
        model: str | LLM,
        revision: str | None = None,
        *,
        device: str | None = None,
        model_prompts: Mapping[str, str] | None = None,
        embed_dim: int | None = None,
        **options: Any,
    ) -> None:
        self.model = open_model(model, revision, device, options)
        self.embed_dim = embed_dim
        config = self.model.model_config
        self.task_prompts = TaskPrompts(config.prompting, model_prompts)
        self._similarity = SimilarityFunction(config.embedding.similarity)
        self.mteb_model_meta = model_meta(
            self.model,
            model if isinstance(model, str) else None,
            revision,
            loader=type(self),
            embed_dim=embed_dim or config.embedding.size,
            similarity_fn_name=ScoringFunction(config.embedding.similarity),
        )

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,  # noqa: ARG002  part of mteb's protocol
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Return one vector per input, float32 [num_inputs, dim].

        Args:
            inputs: Batches of texts and images.
            task_metadata: The ``TaskMetadata`` of the task, which determines the prompt.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: The ``PromptType``: query or document; None for tasks without sides.
            **kwargs: ``show_progress_bar``; ``precision`` like in ``SentenceTransformer.encode``. ``batch_size`` has
                no effect: batches are formed by number of tokens.
        """
        options: dict[str, Any] = {"prompt": self.task_prompts.find(task_metadata, prompt_type)}
        if prompt_type is not None and self.model.model_config.retrieval.has_input_types:
            options["input_type"] = prompt_type.value
        vectors = self.model.embed(
            prompts_of(inputs),
            dimensions=self.embed_dim,
            output="array",
            pooling_params=PoolingParams(task="embed"),
            use_tqdm=kwargs.get("show_progress_bar", True),
            on_overflow="truncate",
            **options,
        )
        precision: Any = kwargs.get("precision") or "float32"
        return vectors if precision == "float32" else quantize_embeddings(vectors, precision=precision)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the similarity of all pairs, a tensor [num_embeddings_1, num_embeddings_2]."""
        return SimilarityFunction.to_similarity_fn(self._similarity)(_floats(embeddings1), _floats(embeddings2))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the similarity of corresponding vectors, a tensor [num_embeddings]."""
        compare = SimilarityFunction.to_similarity_pairwise_fn(self._similarity)
        return compare(_floats(embeddings1), _floats(embeddings2))


def _floats(embeddings: Any) -> Any:
    """Return quantized vectors as float32, because products of 8-bit integers overflow."""
    return embeddings.astype(np.float32) if isinstance(embeddings, np.ndarray) else embeddings.float()
