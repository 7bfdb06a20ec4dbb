"""MillpondCrossEncoder: a cross-encoder for mteb."""

# pyright: reportMissingImports=false
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millpond import LLM
from millpond_mteb.model import model_meta, open_model, prompts_of


class MillpondCrossEncoder:
    """A reranker that mteb evaluates: ``mteb.evaluate(MillpondCrossEncoder(model), tasks)``.

    Pairs of texts are scored; those over the maximum length are truncated.

    Args:
        model: A folder, a hub id, or a loaded model, which the caller closes.
        revision: The branch, tag or commit on the hub.
        device: The device of the model, such as "cuda".
        query_prefix: Text before each query.
        passage_prefix: Text before each document.
        **options: The options of ``millpond.LLM``.
    """

    def __init__(
        self,
        model: str | LLM,
        revision: str | None = None,
        device: str | None = None,
        query_prefix: str = "",
        passage_prefix: str = "",
        **options: Any,
    ) -> None:
        self.model = open_model(model, revision, device, options)
        self.query_prefix = query_prefix
        self.passage_prefix = passage_prefix
        self.mteb_model_meta = model_meta(
            self.model,
            model if isinstance(model, str) else None,
            revision,
            loader=type(self),
            model_type=["cross-encoder"],
            modalities=["text"],
        )

    def predict(
        self,
        inputs1: Iterable[Mapping[str, Any]],
        inputs2: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,  # noqa: ARG002  part of mteb's protocol
        hf_split: str,  # noqa: ARG002
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """Return the relevance of each document to its query, [num_pairs].

        Args:
            inputs1: Batches of queries.
            inputs2: Batches of documents, one for each query.
            task_metadata: Not used.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: Not used.
            **kwargs: ``show_progress_bar``. ``batch_size`` has no effect: batches are formed by number of tokens.
        """
        outputs = self.model.score(
            [self.query_prefix + text for text in prompts_of(inputs1)],
            [self.passage_prefix + text for text in prompts_of(inputs2)],
            use_tqdm=kwargs.get("show_progress_bar", True),
            on_overflow="truncate",
        )
        return np.array([output.outputs.score for output in outputs], dtype=np.float32)
