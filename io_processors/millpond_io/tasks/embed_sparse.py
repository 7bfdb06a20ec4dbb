"""IO processor of the task ``embed_sparse``: texts or token ids to weights of vocabulary tokens."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Call, Job
from millpond.types.config import JOINED_BY
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import PoolingOutput, SparseEmbeddingOutput
from millpond_io.retrieval.input_types import INPUT_TYPE, input_type
from millpond_io.retrieval.routed import RoutedTexts
from millpond_io.tasks.embed import for_pooler
from millpond_io.text.processor import TextProcessor
from millpond_modeling.pooler_options import SparseOptions
from millpond_text.prompt import TextJob

FEATURES = "features"
NO_WEIGHTS = (
    "This model has no sparse embeddings: it has neither a SPLADE pooling type, nor a head for token weights, nor a "
    "SparseAutoEncoder."
)
UNWEIGHTED_ROLES = ("cls", "bos", "eos", "sep", "pad", "unk")  # special tokens that never get a weight


class SparseProcessor(TextProcessor):
    """Converts texts or token ids to a sparse vector over the vocabulary.

    The vector comes from the pooler of ``embed`` if that returns a weight for each vocabulary token or for each feature
    of a sparse autoencoder. Otherwise it comes from the pooler of ``token_classify``, which returns a weight for each
    token of the text: a repeated token gets its largest weight, and special tokens get none (Chen et al. 2024, arXiv
    2402.03216, section 3.2).
    """

    def __init__(self, ctx: TaskContext) -> None:
        source = sparse_source(ctx)
        if source is None:
            raise InvalidInputError(NO_WEIGHTS, parameter="pooling_task")
        super().__init__(ctx)
        self.routed = RoutedTexts(ctx, type(self)) if ctx.routes else None
        self.task = source
        self.of_features = ctx.model.embedding.sparse == FEATURES
        size = ctx.model.embedding_size if self.of_features else ctx.config.get("vocab_size")
        self.size: int | None = size if isinstance(size, int) else None
        self.boundary_ids = tuple(ctx.config.get(f"{role}_token_id") for role in ("bos", "eos"))
        self.unweighted_ids = _ids_of_roles(ctx)

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Return why the model has no sparse embeddings; None if it has."""
        return None if sparse_source(ctx) is not None else NO_WEIGHTS

    def complete(self, call: Call) -> Call:
        """Validate the parameters, and request ids and weights from the pooler."""
        if self.routed is not None:
            return self.routed.complete(call)
        completed = self.completed(call, supported=("use_activation",))
        kind = input_type(completed.options)
        if kind is not None and not self.steps.read_input_type:
            params = self.prompts.by_input_type(completed.params, kind)
            if params is None:
                message = f"{INPUT_TYPE}={kind!r}: {self.ctx.model.model!r} does not distinguish queries and documents"
                raise InvalidInputError(message, parameter=INPUT_TYPE)
            completed = replace(completed, params=params)
        # Terms take less memory than the weights of the whole vocabulary while results wait for the call to finish.
        options = SparseOptions(as_terms=True, max_active_dims=completed.options.max_active_dims)
        return for_pooler(completed, options)

    def encode(self, call: Call) -> list[Job]:
        """Validate and tokenize prompts, all texts at once, or all texts of a route."""
        return super().encode(call) if self.routed is None else self.routed.encode(call)

    def decode(self, job: Job) -> PoolingOutput:
        """Return the sparse vector of one prompt."""
        return super().decode(job) if self.routed is None else self.routed.decode(job)

    def result(self, array: NDArray[np.float32], job: TextJob) -> SparseEmbeddingOutput:
        """Return the pooler's result as a sparse vector."""
        options, ids = job.call.options, job.sequences[0].input_ids
        vector = self._of_vocabulary(array) if self.task == "embed" else self._of_tokens(array, ids)
        limit = options.max_active_dims
        if limit is not None and vector.num_terms > limit:
            kept = np.sort(np.argsort(-np.abs(vector.array), kind="stable")[:limit])
            vector = SparseEmbeddingOutput(vector.array[kept], indices=vector.indices[kept], size=vector.size)
        if options.return_tokens:
            vector.tokens = tuple(map(self._token_text, vector.indices.tolist()))
        return vector

    def _of_vocabulary(self, weights: NDArray[np.float32]) -> SparseEmbeddingOutput:
        """Convert weights of the vocabulary, [vocab_size], or ids and weights of the terms, [num_terms, 2]."""
        if weights.ndim == 1:
            return SparseEmbeddingOutput(weights)
        return SparseEmbeddingOutput(weights[:, 1].copy(), indices=weights[:, 0].astype(np.int64), size=self.size)

    def _of_tokens(self, weights: NDArray[np.float32], input_ids: NDArray[np.int64]) -> SparseEmbeddingOutput:
        """Convert weights of the tokens of a text, [num_tokens], without its first and last special token."""
        ids = without_ends(input_ids, *self.boundary_ids)
        kept = (weights > 0) & ~np.isin(ids, self.unweighted_ids)
        indices, term_of_token = np.unique(ids[kept], return_inverse=True)
        largest = np.zeros(len(indices), dtype=np.float32)
        np.maximum.at(largest, term_of_token, weights[kept])
        return SparseEmbeddingOutput(largest, indices=indices, size=self.size)

    def _token_text(self, token: int) -> str:
        tokenizer = None if self.of_features else self.ctx.tokenizer
        return (tokenizer and tokenizer.backend.id_to_token(token)) or str(token)


def sparse_source(ctx: TaskContext) -> str | None:
    """Return the task of the model whose pooler returns token weights; None if it has none."""
    if ctx.model.embedding.sparse == FEATURES:
        return "embed"
    pooling = ctx.pooling_type("embed") if "embed" in ctx.tasks else JOINED_BY
    pooler = None if JOINED_BY in pooling else ctx.registry.poolers.find(pooling)
    if pooler is not None and pooler.spec.size_key == "vocab_size":
        return "embed"
    architecture = ctx.registry.architectures.find(ctx.model.architecture)
    has_weights = architecture is not None and architecture.spec.output.token_weights
    return "token_classify" if has_weights and "token_classify" in ctx.tasks else None


def without_ends(input_ids: NDArray[np.int64], first: object, last: object) -> NDArray[np.int64]:
    """Return token ids without ``first`` at their start and ``last`` at their end."""
    begin = int(len(input_ids) > 0 and input_ids[0] == first)
    end = len(input_ids) - int(len(input_ids) > begin and input_ids[-1] == last)
    return input_ids[begin:end]


def _ids_of_roles(ctx: TaskContext) -> NDArray[np.int64]:
    """Return the ids of special tokens that never get a weight."""
    ids = {ctx.config.get(f"{role}_token_id") for role in UNWEIGHTED_ROLES}
    if ctx.tokenizer is not None:
        names = (ctx.tokenizer.special_tokens.get(f"{role}_token") for role in UNWEIGHTED_ROLES)
        ids |= {ctx.tokenizer.backend.token_to_id(name) for name in names if name}
    return np.array(sorted(id_ for id_ in ids if isinstance(id_, int)), dtype=np.int64)
