"""The IO processor of the task ``embed_sparse``: text or token ids to weights of tokens of the vocabulary."""

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.pipeline.io_processor import Asked
from millpond.types.config import JOINED_BY
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import SparseEmbeddingOutput
from millpond.types.pooler_options import SparseOptions
from millpond.types.prompts import Prompt
from millpond_io.retrieval.late_interaction import INPUT_TYPE, input_type
from millpond_io.retrieval.static_query_weights import by_table, static_query_weights
from millpond_io.tasks.embed import for_pooler
from millpond_io.text.processor import TextProcessor, TextWork
from millpond_io.text.prompt_tokenizer import TokenizedPrompt

FEATURES = "features"
NO_WEIGHTS = (
    "This model gives no sparse embeddings: neither is its pooling type one of SPLADE's, nor has it a head for the "
    "weights of tokens, or a SparseAutoEncoder."
)
UNWEIGHED = ("cls", "bos", "eos", "sep", "pad", "unk")  # roles of tokens that are no word of a text


class SparseProcessor(TextProcessor):
    """Text or token ids to a sparse vector over the vocabulary.

    It is what the pooler of ``embed`` gives, where that is one weight a token of the vocabulary, or a feature of a
    code, which has a number in place of a token; else what the one of ``token_classify`` does, one weight a token of
    the text: of a token that is there several times, the largest counts, and special tokens have none (Chen et al.
    2024, arXiv 2402.03216, section 3.2).
    """

    def __init__(self, ctx: TaskContext) -> None:
        source = sparse_source(ctx)
        if source is None:
            raise InvalidInputError(NO_WEIGHTS, parameter="pooling_task")
        super().__init__(ctx)
        self.task = source
        self.of_features = ctx.model.embedding.sparse == FEATURES
        size = ctx.model.embedding_size if self.of_features else ctx.config.get("vocab_size")
        self.size: int | None = size if isinstance(size, int) else None
        self.ends = tuple(ctx.config.get(f"{role}_token_id") for role in ("bos", "eos"))
        self.unweighed = _ids_of_roles(ctx)
        self.table = static_query_weights(ctx)

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Why the model gives no sparse vectors; None if it does."""
        return None if sparse_source(ctx) is not None else NO_WEIGHTS

    def complete(self, asked: Asked) -> Asked:
        """Complete and check what is asked, and have the pooler return ids and weights."""
        completed = self.completed(asked, supported=("use_activation",))
        kind = input_type(completed.options)
        if self.table is None and kind is not None:
            message = f"{INPUT_TYPE}={kind!r}: {self.ctx.model.model!r} reads queries and documents alike"
            raise InvalidInputError(message, parameter=INPUT_TYPE)
        # Terms take less memory than the weights of the whole vocabulary while results wait for the call to finish.
        options = SparseOptions(as_terms=True, max_active_dims=completed.options.max_active_dims)
        return for_pooler(completed, options)

    def prepared(self, prompt: Prompt, asked: Asked) -> tuple[Prompt, Asked]:
        """Return the prompt with what is put before it; queries that a table embeds have no special tokens."""
        prompt, asked = super().prepared(prompt, asked)
        table = by_table(self.table, asked)
        return (prompt if table is None else table.prepared(prompt)), asked

    def sequence(self, rendered: TokenizedPrompt, asked: Asked, first: int) -> PoolingRequest:
        """Return one sequence; that of a query has its result, where queries are embedded without the model."""
        table = by_table(self.table, asked)
        return super().sequence(rendered, asked, first) if table is None else table.sequence(rendered, self.task, asked)

    def result(self, array: NDArray[np.float32], sequence: PoolingRequest, work: TextWork) -> SparseEmbeddingOutput:
        """Return what the pooler gave as a sparse vector."""
        options = work.asked.options
        found = self._of_vocabulary(array) if self.task == "embed" else self._of_tokens(array, sequence.input_ids)
        most = options.max_active_dims
        if most is not None and found.num_terms > most:
            kept = np.sort(np.argsort(-np.abs(found.array), kind="stable")[:most])
            found = SparseEmbeddingOutput(found.array[kept], indices=found.indices[kept], size=found.size)
        if options.return_tokens:
            found.tokens = tuple(map(self._spelled, found.indices.tolist()))
        return found

    def _of_vocabulary(self, weights: NDArray[np.float32]) -> SparseEmbeddingOutput:
        """The weights of the vocabulary's tokens, [vocabulary], or of those that have one, [num_terms, 2]."""
        if weights.ndim == 1:
            return SparseEmbeddingOutput(weights)
        return SparseEmbeddingOutput(weights[:, 1].copy(), indices=weights[:, 0].astype(np.int64), size=self.size)

    def _of_tokens(self, weights: NDArray[np.float32], input_ids: NDArray[np.int64]) -> SparseEmbeddingOutput:
        """The weights of a text's tokens, [num_tokens] without those that begin and end it, by the vocabulary's."""
        ids = without_ends(input_ids, *self.ends)
        kept = (weights > 0) & ~np.isin(ids, self.unweighed)
        indices, places = np.unique(ids[kept], return_inverse=True)
        largest = np.zeros(len(indices), dtype=np.float32)
        np.maximum.at(largest, places, weights[kept])
        return SparseEmbeddingOutput(largest, indices=indices, size=self.size)

    def _spelled(self, token: int) -> str:
        tokenizer = None if self.of_features else self.ctx.tokenizer
        return (tokenizer and tokenizer.backend.id_to_token(token)) or str(token)


def sparse_source(ctx: TaskContext) -> str | None:
    """The task of the model whose pooler gives the weights of tokens; None if none does."""
    if ctx.model.embedding.sparse == FEATURES:
        return "embed"
    pooling = ctx.pooling_type("embed") if "embed" in ctx.tasks else JOINED_BY
    pooler = None if JOINED_BY in pooling else ctx.registry.poolers.find(pooling)
    if pooler is not None and pooler.spec.size_key == "vocab_size":
        return "embed"
    architecture = ctx.registry.architectures.find(ctx.model.architecture)
    weighs = architecture is not None and architecture.spec.output.token_weights and "token_classify" in ctx.tasks
    return "token_classify" if weighs else None


def without_ends(input_ids: NDArray[np.int64], first: object, last: object) -> NDArray[np.int64]:
    """Token ids without the one that begins a text and the one that ends it, if they are there."""
    begin = int(len(input_ids) > 0 and input_ids[0] == first)
    end = len(input_ids) - int(len(input_ids) > begin and input_ids[-1] == last)
    return input_ids[begin:end]


def _ids_of_roles(ctx: TaskContext) -> NDArray[np.int64]:
    """The ids of the tokens that no word of a text is."""
    said = {ctx.config.get(f"{role}_token_id") for role in UNWEIGHED}
    if ctx.tokenizer is not None:
        names = (ctx.tokenizer.special_tokens.get(f"{role}_token") for role in UNWEIGHED)
        said |= {ctx.tokenizer.backend.token_to_id(name) for name in names if name}
    return np.array(sorted(id_ for id_ in said if isinstance(id_, int)), dtype=np.int64)
