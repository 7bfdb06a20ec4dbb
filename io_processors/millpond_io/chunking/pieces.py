"""Pieces: the step that splits prompts over the model's maximum length, and the mean of the vectors of pieces."""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.types.params import PoolingParams
from millpond_io.text.prompt_tokenizer import PromptTokenizer
from millpond_text.kinds import TextStep
from millpond_text.prompt import TextJob

logger = logging.getLogger(__name__)
MIN_NORM = 1e-12  # as in the activation ``normalize``


class Pieces(TextStep):
    """Splits long prompts of the task ``embed``; its IO processor accepts them with ``on_overflow="chunk"`` only."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.longest = ctx.model.max_model_len
        self.full_size = ctx.model.embedding.full_size or ctx.model.embedding_size
        self.truncate_dim = ctx.model.embedding.truncate_dim

    def on_tokens(self, job: TextJob) -> None:
        """Replace the sequence of a prompt over the maximum length by its pieces."""
        sequence, longest = job.sequences[0], self.longest
        total = len(sequence.input_ids)
        if total <= longest or sequence.is_ready:
            return
        logger.info("Input length %d exceeds max_position_embeddings %d, will use chunked processing", total, longest)
        pieces = slices(sequence.input_ids, longest)
        logger.info("Split input of %d tokens into %d chunks (max_chunk_size: %d)", total, len(pieces), longest)
        (whole,) = sequence.representations
        params = self._with_all_dimensions(job.call.params)
        first = whole._replace(params=params, span=None if whole.span is None else (whole.span[0], longest))
        later = whole._replace(params=params, span=None)
        prompt_tokenizer = PromptTokenizer(self.ctx)
        job.sequences = tuple(
            PoolingRequest(
                input_ids=prompt_tokenizer.pad(piece, params),
                representations=(later if number else first,),
                whole=sequence.input_ids,
            )
            for number, piece in enumerate(pieces)
        )

    def merged(self, job: TextJob, *, renormalize: bool) -> NDArray[np.float32]:
        """Return the mean of the vectors of pieces, weighted by their numbers of pooled tokens, [dim]."""
        vectors = [sequence.results[0] for sequence in job.sequences]
        vector = merged(vectors, [_num_pooled(sequence) for sequence in job.sequences], renormalize=renormalize)
        is_cut = self._with_all_dimensions(job.call.params) is not job.call.params
        return vector[: self.truncate_dim] if is_cut else vector

    def _with_all_dimensions(self, params: PoolingParams) -> PoolingParams:
        """Return the parameters of pieces: the model's default number of dimensions applies to their mean."""
        if self.truncate_dim is None or params.dimensions is not None or self.full_size is None:
            return params
        return params.model_copy(update={"dimensions": self.full_size})


def slices(input_ids: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Split token ids into slices of ``size`` tokens; the last may be shorter. No tokens are added."""
    return [input_ids[start : start + size] for start in range(0, len(input_ids), size)]


def merged(vectors: Sequence[NDArray[np.float32]], counts: Sequence[int], *, renormalize: bool) -> NDArray[np.float32]:
    """Return the mean of the vectors of slices, weighted by their numbers of tokens.

    Args:
        vectors: The vector of each slice, [dim].
        counts: The number of pooled tokens of each slice.
        renormalize: True to normalize the mean to length 1.

    Returns:
        The vector of the whole prompt, [dim].
    """
    weights = np.asarray(counts, dtype=np.float32)
    mean = (np.stack(vectors).astype(np.float32) * weights[:, None]).sum(axis=0) / weights.sum()
    if renormalize:
        mean = mean / max(float(np.linalg.norm(mean)), MIN_NORM)
    vector: NDArray[np.float32] = mean.astype(np.float32)
    return vector


def _num_pooled(sequence: PoolingRequest) -> int:
    span = sequence.representations[0].span
    return len(sequence.input_ids) if span is None else span[1] - span[0]
