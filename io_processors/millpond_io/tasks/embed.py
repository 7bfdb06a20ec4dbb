"""IO processor of the embedding tasks: texts or token ids to one vector per prompt or per token."""

import logging
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Call, Job
from millpond.types.config import JOINED_BY
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import PoolingOutput
from millpond.types.params import PoolingParams
from millpond_io.chunking.late import check_prompt, chunked_sequence, chunks_of
from millpond_io.chunking.pieces import merged, slices
from millpond_io.images.prompts import GROUP, ImagePrompts
from millpond_io.images.settings import reads_images
from millpond_io.prompts import Prompt, parse_prompt
from millpond_io.retrieval.late_interaction import input_type, readers, token_pooling
from millpond_io.retrieval.routed import RoutedTexts
from millpond_io.retrieval.static_query_weights import by_table, static_query_weights
from millpond_io.retrieval.token_pooling import POOL_FACTOR, pooled
from millpond_io.text.processor import TextJob, TextProcessor
from millpond_io.text.prompt_tokenizer import TokenizedPrompt
from millpond_modeling.pooler_options import SparseOptions, add_options

logger = logging.getLogger(__name__)


class EmbedProcessor(TextProcessor):
    """Converts texts or token ids to vectors: one per prompt or one per token, depending on the task."""

    quick: ClassVar[bool] = True

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.routed = RoutedTexts(ctx, type(self)) if ctx.routes else None
        self.size = ctx.model.embedding.full_size or ctx.model.embedding_size
        self.readers = readers(ctx)
        self.table = None if self.per_token else static_query_weights(ctx)
        self.images = ImagePrompts(ctx) if reads_images(ctx) else None
        self.num_joined = len(ctx.pooling_type("embed").split(JOINED_BY)) if "embed" in ctx.tasks else 1
        if self.per_token and ctx.sparse_after_pooling is not None:
            self.size = None  # the embedding size is that of the sparse vector of a text
        elif self.per_token and ctx.rows_after_pooling is None and self.size is not None:
            self.size //= self.num_joined  # the vector of a token has the size of one pooling type

    def complete(self, call: Call) -> Call:
        """Validate the parameters, and fill in defaults of the model's config."""
        if self.routed is not None:
            return self.routed.complete(call)
        if self.per_token and self.ctx.rows_after_pooling is not None and self.num_joined > 1:
            message = (
                f"the task {self.task!r} is not served by {self.ctx.model.model!r}: its Dense modules expect the "
                f"concatenated results of {self.num_joined} pooling types, and a token has one vector. The task "
                "'embed' is served"
            )
            raise InvalidInputError(message, parameter="pooling_task")
        completed = self.completed(call, supported=("use_activation", "dimensions"))
        self._check_dimensions(completed.params.dimensions)
        if self.per_token:
            token_pooling(completed.options, self.readers)
        elif getattr(completed.options, POOL_FACTOR, None) is not None:
            message = (
                f"{POOL_FACTOR} is for 'token_embed', which returns a vector per token; {self.task!r} returns one per "
                "text"
            )
            raise InvalidInputError(message, parameter=POOL_FACTOR)
        completed = self._with_input_type(completed)
        limit = getattr(completed.options, "max_active_dims", None)
        return completed if limit is None else for_pooler(completed, SparseOptions(max_active_dims=limit))

    def encode(self, call: Call) -> list[Job]:
        """Validate and tokenize prompts, all texts at once, or all texts of a route."""
        if self.routed is not None:
            return self.routed.encode(call)
        images = self.images
        if images is None:
            return self.encode_read(call, self.read, self.encode_prompts)
        return self.encode_read(
            call,
            lambda data: images.read(self, parse_prompt(data)),
            lambda prompts, call: images.jobs(prompts, call, self.encode_prompts, self.task),
        )

    def prepared(self, prompt: Prompt, call: Call) -> tuple[Prompt, PoolingParams]:
        """Return the prompt with its instruction, and with the markers of a query or document."""
        if call.params.late_chunking_params is not None:
            check_prompt(prompt, written=self.messages is not None)
        prompt, params = super().prepared(prompt, call)
        if self.table is not None and by_table(self.table, call) is not None:
            return self.table.prepared(prompt), params
        kind = input_type(call.options) if self.readers else None
        return (prompt, params) if kind is None else self.readers[kind].prepared(prompt, params)

    def job(self, prompt: Prompt, call: Call, tokenized: TokenizedPrompt) -> Job:
        """Return the sequences of a tokenized prompt."""
        if call.params.late_chunking_params is not None:
            sequence, chunked = chunked_sequence(self.prompt_tokenizer, prompt, tokenized, call.params, self.task)
            return TextJob(sequences=(sequence,), call=call, chunked=chunked)
        first = 0 if self.pools_prompts else self.first_pooled(prompt, tokenized, call)
        return self.job_of(tokenized, call, first)

    def job_of(self, tokenized: TokenizedPrompt, call: Call, first: int) -> Job:
        """Return one sequence, or one for each piece of a prompt over the model's maximum length."""
        if self.table is not None and by_table(self.table, call) is not None:
            return TextJob(sequences=(self.table.sequence(tokenized, self.task, call),), call=call)
        kind = input_type(call.options) if self.readers else None
        if kind is not None:
            encoded = self.readers[kind].read(tokenized)
            sequence = self.sequence(encoded.rendered, call, first)
            sequence.features = {**tokenized.features, **encoded.features}
            return TextJob(sequences=(sequence,), call=call, kept=encoded.kept)
        longest, total = self.ctx.model.max_model_len, len(tokenized.input_ids)
        if total <= longest:
            return TextJob(sequences=(self.sequence(tokenized, call, first),), call=call)
        logger.info("Input length %d exceeds max_position_embeddings %d, will use chunked processing", total, longest)
        pieces = slices(tokenized.input_ids, longest)
        logger.info("Split input of %d tokens into %d chunks (max_chunk_size: %d)", total, len(pieces), longest)
        spans = [(first, longest) if first else None] + [None] * (len(pieces) - 1)
        params, truncate_dim = self._piece_params(call.params)
        sequences = tuple(
            PoolingRequest(
                input_ids=self.prompt_tokenizer.pad(piece, params),
                representations=(Representation(self.task, params, span),),
                whole=tokenized.input_ids,
            )
            for piece, span in zip(pieces, spans, strict=True)
        )
        return TextJob(sequences=sequences, call=call, truncate_dim=truncate_dim)

    def decode(self, job: Job) -> PoolingOutput:
        """Return the result of one prompt; for a prompt in pieces, their mean weighted by the number of pooled tokens.

        For a text with an image, the result is the mean of both vectors.
        """
        if self.routed is not None:
            return self.routed.decode(job)
        assert isinstance(job, TextJob)  # noqa: S101  returned by ``encode``
        sequences = job.sequences
        if len(sequences) == 1:
            return self.result(sequences[0].results[0], sequences[0], job)
        texts = tuple(sequence for sequence in sequences if sequence.group != GROUP)
        params = job.call.params
        if len(texts) < len(sequences):
            pair = [self.decode(replace(job, sequences=texts)).array, sequences[-1].results[0]]
            return self.output(merged(pair, [1, 1], renormalize=params.use_activation is not False))
        normalizes = params.use_activation is not False and self.spec.default_activation == "normalize"
        if self.ctx.model.embedding.sparse == "tokens":  # not normalized by default
            normalizes = normalizes and self.ctx.model.embedding.normalizes
        vector = merged(
            [sequence.results[0] for sequence in sequences],
            [_num_pooled(sequence) for sequence in sequences],
            renormalize=normalizes and self.ctx.pooler_config.chunk_renormalize,
        )
        return self.output(vector if job.truncate_dim is None else vector[: job.truncate_dim])

    def _piece_params(self, params: PoolingParams) -> tuple[PoolingParams, int | None]:
        """Return the parameters of the pieces of a text, and the number of dimensions of their merged vector."""
        truncate_dim = self.ctx.model.embedding.truncate_dim
        if truncate_dim is None or params.dimensions is not None or self.size is None:
            return params, None
        return params.model_copy(update={"dimensions": self.size}), truncate_dim

    def result(self, array: NDArray[np.float32], sequence: PoolingRequest, job: TextJob) -> PoolingOutput:
        """Return a vector, or the token vectors that are kept, pooled if requested."""
        del sequence
        if not self.per_token:
            return self.output(array)
        if job.chunked is not None:
            return chunks_of(array, job.chunked)
        if job.kept is not None:
            array = array[job.kept]
        pooling = token_pooling(job.call.options, self.readers)
        return self.output(array if pooling is None else pooled(array, pooling))

    def _with_input_type(self, call: Call) -> Call:
        """Return the parameters with the prompt of the input type, for models that only have prompts for it."""
        kind = input_type(call.options)
        reads_task = self.messages is not None and self.messages.declares_task
        if kind is None or kind in self.readers or self.table is not None or reads_task:
            return call
        params = self.prompts.by_input_type(call.params, kind)
        if params is not None:
            return replace(call, params=params)
        message = (
            f"input_type={kind!r} is for models whose files define queries and documents, by prompts named 'query' and "
            f"'document' or, for 'token_embed', like ColBERT's; {self.ctx.model.model!r} as {self.task!r} does not "
            "distinguish them"
        )
        raise InvalidInputError(message, parameter="input_type")

    def _check_dimensions(self, requested: int | None) -> None:
        model, size = self.ctx.model, self.size
        if requested is None or requested == size:
            return
        if not model.is_matryoshka:
            message = (
                f'Model "{model.model}" does not support matryoshka representation, changing output dimensions will '
                f"lead to poor results. dimensions={requested} was requested; the model has {size}. If it was trained "
                "for it, pass hf_overrides={'is_matryoshka': True} or {'matryoshka_dimensions': [...]}"
            )
            raise InvalidInputError(message, parameter="dimensions")
        if size is not None and requested > size:
            message = f"Model '{model.model}' only supports dimensions in range [1, {size}], got {requested}."
            raise InvalidInputError(message, parameter="dimensions")
        trained = model.matryoshka_dimensions
        if trained and requested not in trained:
            message = f"Model '{model.model}' only supports Matryoshka dimensions {list(trained)}, got {requested}."
            raise InvalidInputError(message, parameter="dimensions")


def for_pooler(call: Call, options: SparseOptions) -> Call:
    """Return the parameters with options for the pooler."""
    return replace(call, params=add_options(call.params, options))


def _num_pooled(sequence: PoolingRequest) -> int:
    span = sequence.representations[0].span
    return len(sequence.input_ids) if span is None else span[1] - span[0]
