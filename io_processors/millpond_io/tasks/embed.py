"""IO processor of the embedding tasks: texts or token ids to one vector per prompt or per token."""

from dataclasses import replace
from typing import ClassVar

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Call, Job
from millpond.types.config import JOINED_BY
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import PoolingOutput
from millpond_io.chunking.pieces import Pieces, merged
from millpond_io.images.prompts import GROUP, ImagePrompts
from millpond_io.images.settings import reads_images
from millpond_io.prompts import parse_prompt
from millpond_io.retrieval.input_types import input_type
from millpond_io.retrieval.routed import RoutedTexts
from millpond_io.retrieval.token_pooling import POOL_FACTOR, PoolTokens
from millpond_io.text.processor import TextProcessor
from millpond_modeling.pooler_options import SparseOptions, add_options
from millpond_text.prompt import TextJob
from millpond_text.steps import step_of_plugin


class EmbedProcessor(TextProcessor):
    """Converts texts or token ids to vectors: one per prompt or one per token, depending on the task."""

    quick: ClassVar[bool] = True

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        # Code of plugins, in a subclass or a step, may take any time.
        self.quick_encode = type(self) is EmbedProcessor and step_of_plugin(ctx) is None
        self.routed = RoutedTexts(ctx, type(self)) if ctx.routes else None
        self.size = ctx.model.embedding.full_size or ctx.model.embedding_size
        self.pool_tokens = self.steps.of_type(PoolTokens)
        self.pieces = None if self.per_token else Pieces(ctx)
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
        if self.pool_tokens is not None:
            self.pool_tokens.of(completed.options)
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

    def decode(self, job: Job) -> PoolingOutput:
        """Return the result of one prompt; for a prompt in pieces, their mean weighted by the number of pooled tokens.

        For a text with an image, the result is the mean of both vectors.
        """
        if self.routed is not None:
            return self.routed.decode(job)
        assert isinstance(job, TextJob)  # noqa: S101  returned by ``encode``
        sequences, params = job.sequences, job.call.params
        if len(sequences) == 1 or self.pieces is None:
            return self.finished(sequences[0].results[0], job)
        texts = tuple(sequence for sequence in sequences if sequence.group != GROUP)
        if len(texts) < len(sequences):
            pair = [self.decode(replace(job, sequences=texts)).array, sequences[-1].results[0]]
            return self.output(merged(pair, [1, 1], renormalize=params.use_activation is not False))
        normalizes = params.use_activation is not False and self.spec.default_activation == "normalize"
        if self.ctx.model.embedding.sparse == "tokens":  # not normalized by default
            normalizes = normalizes and self.ctx.model.embedding.normalizes
        renormalize = normalizes and self.ctx.pooler_config.chunk_renormalize
        return self.finished(self.pieces.merged(job, renormalize=renormalize), job)

    def _with_input_type(self, call: Call) -> Call:
        """Return the parameters with the prompt of the input type, for models that only have prompts for it."""
        kind = input_type(call.options)
        if kind is None or self.steps.read_input_type:
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
