"""The IO processor of the embedding tasks: text or token ids to one vector, or to one vector a token."""

import logging
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.types.config import JOINED_BY
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ArrayOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import Prompt, parse_prompt
from millpond_io.chunking.late import Chunked, check_prompt, chunked_request, chunks_of
from millpond_io.chunking.pieces import merged, slices
from millpond_io.images.prompts import GROUP, ImagePrompts
from millpond_io.images.settings import reads_images
from millpond_io.retrieval.late_interaction import input_type, readers, token_pooling
from millpond_io.retrieval.query_table import by_table, query_table
from millpond_io.retrieval.routed import RoutedTexts
from millpond_io.retrieval.token_pooling import POOL_FACTOR, pooled
from millpond_io.text.processor import TextProcessor
from millpond_io.text.render import Rendered

logger = logging.getLogger(__name__)
KEPT = "truncate_dim"  # in ``extra_kwargs`` of pieces: the dimensions that are kept once they are merged


class EmbedProcessor(TextProcessor):
    """Text or token ids to vectors: one a prompt or one a token, as the task's pooler makes them."""

    quick: ClassVar[bool] = True

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.routed = RoutedTexts(ctx, type(self)) if ctx.routes else None
        self.size = ctx.model.full_embedding_size or ctx.model.embedding_size
        self.readers = readers(ctx)
        self.table = None if ctx.task_spec.per_token else query_table(ctx)
        self.images = ImagePrompts(ctx) if reads_images(ctx) else None
        self.num_joined = len(ctx.pooling_type("embed").split(JOINED_BY)) if "embed" in ctx.tasks else 1
        if ctx.task_spec.per_token and ctx.makes_sparse:
            self.size = None  # that of a vector a text, which is coded
        elif ctx.task_spec.per_token and ctx.rows_after_pooling is None and self.size is not None:
            self.size //= self.num_joined  # what is joined for a prompt is one for a token

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """What was asked, completed by the model's config and checked against it."""
        if self.routed is not None:
            return self.routed.pooling_params(given)
        if self.per_token and self.ctx.rows_after_pooling is not None and self.num_joined > 1:
            message = (
                f"the task {self.task!r} is not served by {self.ctx.model.model!r}: its Dense modules take the results "
                f"of {self.num_joined} pooling types joined, and a token has but one. The task 'embed' is"
            )
            raise InvalidInputError(message, parameter="pooling_task")
        completed = self.completed(given, supported=("use_activation", "dimensions"))
        self._check_dimensions(completed.dimensions)
        asked = input_type(completed)
        if self.ctx.task_spec.per_token:
            token_pooling(completed, self.readers)
        elif (completed.extra_kwargs or {}).get(POOL_FACTOR) is not None:
            message = (
                f"{POOL_FACTOR} is for 'token_embed', which gives a vector a token; {self.task!r} gives one a text"
            )
            raise InvalidInputError(message, parameter=POOL_FACTOR)
        reads_task = self.messages is not None and self.messages.declares_task
        if asked is not None and asked not in self.readers and self.table is None and not reads_task:
            message = (
                f"input_type={asked!r} is for 'token_embed' of models whose files say how queries and documents "
                f"are read, as ColBERT's do; {self.ctx.model.model!r} as {self.task!r} knows neither"
            )
            raise InvalidInputError(message, parameter="input_type")
        return completed

    def parse(self, data: object) -> Prompt:
        """Check one prompt, and read its image; see ``IOProcessor``."""
        if self.routed is not None:
            return self.routed.parse(data)
        return super().parse(data) if self.images is None else self.images.parse(self, parse_prompt(data))

    def pre_process_many(
        self, items: Sequence[tuple[Prompt, PoolingParams]]
    ) -> list[list[PoolingRequest] | InvalidInputError]:
        """The requests of each prompt, all texts tokenised at once."""
        if self.routed is not None:
            return self.routed.pre_process_many(items)
        if self.images is None:
            return super().pre_process_many(items)
        return self.images.requests(items, super().pre_process_many, self.task)

    def _with_prompt(self, item: tuple[Prompt, PoolingParams]) -> tuple[Prompt, PoolingParams] | InvalidInputError:
        if item[1].late_chunking_params is not None:
            try:
                check_prompt(item[0], written=self.messages is not None)
            except InvalidInputError as error:
                return error
        found = super()._with_prompt(item)
        table = by_table(self.table, item[1])
        if table is not None and not isinstance(found, InvalidInputError):
            return table.prepared(found[0]), found[1]
        kind = None if isinstance(found, InvalidInputError) or not self.readers else input_type(found[1])
        return found if kind is None or isinstance(found, InvalidInputError) else self.readers[kind].prepared(*found)

    def _made(
        self, item: tuple[Prompt, PoolingParams], rendered: Rendered | InvalidInputError
    ) -> list[PoolingRequest] | InvalidInputError:
        prompt, params = item
        if isinstance(rendered, InvalidInputError) or params.late_chunking_params is None:
            return super()._made(item, rendered)
        try:
            return [chunked_request(self.renderer, prompt, rendered, params, self.task)]
        except InvalidInputError as error:
            return error

    def requests(self, rendered: Rendered, params: PoolingParams, first: int) -> list[PoolingRequest]:
        """One request of a prompt; of one that is too long and to be embedded in pieces, one of each piece."""
        table = by_table(self.table, params)
        if table is not None:
            return [table.request(rendered, self.task, params)]
        kind = input_type(params) if self.readers else None
        if kind is not None:
            side = self.readers[kind].read(rendered)
            (request,) = super().requests(side.rendered, params, first)
            request.features, request.note = {**rendered.features, **side.features}, side.kept
            return [request]
        longest, total = self.ctx.model.max_model_len, len(rendered.input_ids)
        if total <= longest:
            return super().requests(rendered, params, first)
        pieces, params = slices(rendered.input_ids, longest), self._of_pieces(params)
        logger.info("Input length %d exceeds max_position_embeddings %d, will use chunked processing", total, longest)
        logger.info("Split input of %d tokens into %d chunks (max_chunk_size: %d)", total, len(pieces), longest)
        spans = [(first, longest) if first else None] + [None] * (len(pieces) - 1)
        return [
            PoolingRequest(
                input_ids=self.renderer.filled(piece, params),
                representations=(Representation(self.task, params, span),),
                whole=rendered.input_ids,
            )
            for piece, span in zip(pieces, spans, strict=True)
        ]

    def post_process(self, requests: Sequence[PoolingRequest]) -> ArrayOutput:
        """The result of one prompt; of one in pieces, the mean of theirs, weighted by the tokens that were pooled.

        Of a text with an image it is the mean of the text's and the image's.
        """
        if self.routed is not None:
            return self.routed.post_process(requests)
        texts = [request for request in requests if request.group != GROUP]
        if 0 < len(texts) < len(requests):
            pair = [self.post_process(texts).array, requests[-1].results[0]]
            params = requests[-1].representations[0].params
            return self.output(merged(pair, [1, 1], renormalize=params.use_activation is not False))
        if len(requests) == 1:
            return super().post_process(requests)
        params = requests[0].representations[0].params
        normalizes = params.use_activation is not False and self.ctx.task_spec.default_activation == "normalize"
        if self.ctx.model.sparse == "tokens":  # their weights are divided by nothing, unless the checkpoint says so
            normalizes = normalizes and self.ctx.model.normalizes
        vector = merged(
            [request.results[0] for request in requests],
            [_num_pooled(request) for request in requests],
            renormalize=normalizes and self.ctx.pooler_config.chunk_renormalize,
        )
        kept = (params.extra_kwargs or {}).get(KEPT)
        return self.output(vector[:kept] if isinstance(kept, int) else vector)

    def _of_pieces(self, params: PoolingParams) -> PoolingParams:
        """The parameters of the pieces of a text, whose vectors are merged before they are cut to ``truncate_dim``."""
        kept = self.ctx.model.truncate_dim
        if kept is None or params.dimensions is not None or self.size is None:
            return params
        extra = {**(params.extra_kwargs or {}), KEPT: kept}
        return params.model_copy(update={"dimensions": self.size, "extra_kwargs": extra})

    def result(self, array: NDArray[np.float32], wanted: Representation, request: PoolingRequest) -> ArrayOutput:
        """A vector; of vectors of tokens those that are kept, or what they become where they are pooled."""
        if not self.per_token:
            return self.output(array)
        if isinstance(request.note, Chunked):
            return chunks_of(array, request.note)
        if isinstance(request.note, np.ndarray):
            array = array[request.note]
        pooling = token_pooling(wanted.params, self.readers)
        return self.output(array if pooling is None else pooled(array, pooling))

    def _check_dimensions(self, asked: int | None) -> None:
        model, size = self.ctx.model, self.size
        if asked is None or asked == size:
            return
        if not model.is_matryoshka:
            message = (
                f'Model "{model.model}" does not support matryoshka representation, changing output dimensions will '
                f"lead to poor results. dimensions={asked} was asked for; the model has {size}. If it was trained for "
                "it, say so with hf_overrides={'is_matryoshka': True} or {'matryoshka_dimensions': [...]}"
            )
            raise InvalidInputError(message, parameter="dimensions")
        if size is not None and asked > size:
            message = f"Model '{model.model}' only supports dimensions in range [1, {size}], got {asked}."
            raise InvalidInputError(message, parameter="dimensions")
        trained = model.matryoshka_dimensions
        if trained and asked not in trained:
            message = f"Model '{model.model}' only supports Matryoshka dimensions {list(trained)}, got {asked}."
            raise InvalidInputError(message, parameter="dimensions")


def _num_pooled(request: PoolingRequest) -> int:
    span = request.representations[0].span
    return len(request.input_ids) if span is None else span[1] - span[0]
