"""Scores of pairs that a model reads together: each pair is one sequence, and its one class is the score."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import IOProcessor
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ArrayOutput, PoolingRequestOutput, ScoringOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import Content, PairItem, Prompt
from millpond_io.images.parts import in_lines, texts_of
from millpond_io.scoring.options import read_options
from millpond_io.scoring.pair_encoder import Encoded, PairEncoder
from millpond_io.scoring.pair_images import PairImages
from millpond_io.scoring.pair_prompts import PairPrompts
from millpond_io.scoring.written_pairs import WrittenPairs
from millpond_io.text.render import Rendered, Renderer

Made: TypeAlias = "list[PoolingRequest] | InvalidInputError"
NO_TEMPLATE = (
    "a pair with images is written by a template, with a message of the role 'query' and one of the role 'document', "
    "and this model has none: pass chat_template, to the call or to the LLM"
)


class CrossEncoder:
    """Makes one sequence of each pair, by the model's template or its tokenizer's form of pairs."""

    def __init__(self, ctx: TaskContext, *, inner: IOProcessor[Any] | None = None, by_tokenizer: bool = False) -> None:
        """Take the prompts of a model.

        Args:
            ctx: The model's context.
            inner: The IO processor of its classes; by default one is built.
            by_tokenizer: Whether the tokenizer joins the texts of every model that has no template, as in transformers;
                else those of models that continue text are joined before they are tokenised, as in vLLM.
        """
        self.ctx = ctx
        self.task = "classify"
        name = ctx.registry.tasks.get(self.task).spec.io_processor
        self.inner = ctx.io_processor(name, task=self.task) if inner is None else inner
        self.renderer = Renderer(ctx)
        self.prompts = PairPrompts(ctx, by_tokenizer=by_tokenizer)
        self.images = None if self.renderer.images is None else PairImages(self.renderer, self.renderer.images.reader)

    def split(self, queries: Sequence[Content], documents: Sequence[Content]) -> list[object]:
        """The pairs."""
        left = [*queries] * len(documents) if len(queries) == 1 else queries
        return [PairItem(query, document) for query, document in zip(left, documents, strict=True)]

    def pooling_params(self, given: PoolingParams) -> PoolingParams:
        """What was asked, as the IO processor of classes completes it."""
        self.prompts.warn_of(read_options(given, self.ctx.model.max_model_len))
        if given.add_special_tokens is False:
            message = "add_special_tokens=False is not supported for pairs that a model reads together"
            raise InvalidInputError(message, parameter="add_special_tokens")
        if given.pad_prompt_tokens:
            message = "padding='max_length' is not supported for pairs that a model reads together"
            raise InvalidInputError(message, parameter="padding")
        inner = self.inner.pooling_params(given.model_copy(update={"extra_kwargs": None}))
        return inner.model_copy(update={"extra_kwargs": given.extra_kwargs})

    def parse(self, data: object) -> PairItem:
        """Check a pair."""
        if not isinstance(data, PairItem) or data.query is None or data.document is None:
            message = f"expected a query and a document; got {type(data).__name__}"
            raise InvalidInputError(message, parameter="data_1")
        for name, content, parameter in (("query", data.query, "data_1"), ("document", data.document, "data_2")):
            text = content if isinstance(content, str) else in_lines(texts_of(content))
            try:
                self.renderer.check(Prompt(text=text))
            except InvalidInputError as error:
                raise InvalidInputError(f"{name}: {error.message}", parameter=parameter) from error
        return data

    def pre_process_many(self, items: Sequence[tuple[PairItem, PoolingParams]]) -> list[Made]:
        """One request of each pair, all tokenised at once; one at fault costs no other."""
        made: list[Made] = []
        for _, group in groupby(items, key=lambda item: id(item[1])):
            pairs = [*group]
            made += self._requests([pair for pair, _ in pairs], pairs[0][1])
        return made

    def post_process(self, requests: Sequence[PoolingRequest]) -> ArrayOutput:
        """The score of a pair."""
        return ScoringOutput(requests[0].results[0].reshape(()))

    def join(
        self, items: Sequence[object], outputs: Sequence[PoolingRequestOutput[Any]]
    ) -> list[PoolingRequestOutput[Any]]:
        """The outputs as they are: each is of a pair."""
        del items
        return list(outputs)

    def _requests(self, pairs: Sequence[PairItem], params: PoolingParams) -> list[Made]:
        """The requests of pairs that share their parameters."""
        try:
            encoder = self.prompts.encoder(params, read_options(params, self.ctx.model.max_model_len))
        except InvalidInputError as error:
            return [error] * len(pairs)
        texts = [
            (pair.query or "", pair.document or "")
            for pair in pairs
            if isinstance(pair.query, str) and isinstance(pair.document, str)
        ]
        encoded = iter(encoder.encode_many(texts))
        return [
            self._request(next(encoded), params)
            if isinstance(pair.query, str) and isinstance(pair.document, str)
            else self._with_images(pair, encoder, params)
            for pair in pairs
        ]

    def _with_images(self, pair: PairItem, encoder: PairEncoder, params: PoolingParams) -> Made:
        """The request of a pair with images."""
        options = read_options(params, self.ctx.model.max_model_len)
        if self.images is None or not isinstance(encoder, WrittenPairs) or not self.prompts.has_template(options):
            return InvalidInputError(NO_TEMPLATE, parameter="chat_template")
        try:
            return [self._computed(self.images.read(pair, encoder, params), params)]
        except InvalidInputError as error:
            return error

    def _computed(self, rendered: Rendered, params: PoolingParams) -> PoolingRequest:
        own = params.model_copy(update={"extra_kwargs": None})
        return PoolingRequest(
            input_ids=rendered.input_ids,
            representations=(Representation(self.task, own),),
            features=rendered.features,
            num_dropped_tokens=rendered.num_dropped_tokens,
        )

    def _request(self, encoded: Encoded | InvalidInputError, params: PoolingParams) -> Made:
        if isinstance(encoded, InvalidInputError):
            return encoded
        if not encoded.input_ids:
            return InvalidInputError("the pair has no tokens: there is nothing to compute", parameter="data_1")
        try:
            if self.renderer.has_unknown_tokens:
                self.renderer.check(Prompt(token_ids=tuple(encoded.input_ids)))
            if self.renderer.images is not None:
                self.renderer.images.check_ids(np.asarray(encoded.input_ids, dtype=np.int64))
        except InvalidInputError as error:
            return error
        types = encoded.token_type_ids
        request = PoolingRequest(
            input_ids=np.asarray(encoded.input_ids, dtype=np.int64),
            token_type_ids=None if types is None else np.asarray(types, dtype=np.int64),
            representations=(Representation(self.task, params.model_copy(update={"extra_kwargs": None})),),
            num_dropped_tokens=encoded.num_dropped_tokens,
        )
        return [request]
