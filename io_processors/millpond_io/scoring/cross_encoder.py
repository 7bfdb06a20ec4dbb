"""CrossEncoder and PairReader: pairs of texts that a model encodes together, as one sequence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.pipeline.options import read_call
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ScoringOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import Content, PairItem
from millpond_io.images.parts import in_lines, texts_of
from millpond_io.scoring.options import PairOptions
from millpond_io.scoring.pair_encoder import EncodedPair, PairEncoder
from millpond_io.scoring.pair_images import PairImages
from millpond_io.scoring.pair_prompts import PairPrompts
from millpond_io.scoring.rendered_pairs import RenderedPairs
from millpond_io.text.prompt_tokenizer import PromptTokenizer
from millpond_text.prompt import Prompt

TASK = "classify"
NO_TEMPLATE = (
    "pairs with images require a template with messages of the roles 'query' and 'document', but this model has none: "
    "pass chat_template to the call or to LLM"
)


class PairReader:
    """Encodes each pair as one sequence, with the template of the model or the pair format of its tokenizer."""

    def __init__(self, ctx: TaskContext, *, by_tokenizer: bool = False) -> None:
        """Initialize the reader.

        Args:
            ctx: The context of the model.
            by_tokenizer: True if, without a template, the tokenizer joins the texts for all models, as in transformers;
                False if texts are concatenated for causal language models, as in vLLM.
        """
        self.prompt_tokenizer = PromptTokenizer(ctx)
        reader = None if self.prompt_tokenizer.images is None else self.prompt_tokenizer.images.reader
        self.prompts = PairPrompts(ctx, by_tokenizer=by_tokenizer, reader=reader)
        self.images = None if reader is None else PairImages(self.prompt_tokenizer, reader)

    def check(self, params: PoolingParams, options: PairOptions) -> None:
        """Check the parameters of a call, and warn about options without effect.

        Raises:
            InvalidInputError: If a parameter is not supported for pairs.
        """
        self.prompts.warn_of(options)
        if params.add_special_tokens is False:
            message = "add_special_tokens=False is not supported for pairs that are encoded together"
            raise InvalidInputError(message, parameter="add_special_tokens")
        if params.pad_prompt_tokens:
            message = "padding='max_length' is not supported for pairs that are encoded together"
            raise InvalidInputError(message, parameter="padding")

    def encoder(self, params: PoolingParams, options: PairOptions) -> PairEncoder | InvalidInputError:
        """Return the encoder for the pairs of a call, or the error if they cannot be encoded."""
        try:
            return self.prompts.encoder(params, options)
        except InvalidInputError as error:
            return error

    def read(
        self,
        pairs: Sequence[PairItem],
        params: PoolingParams,
        options: PairOptions,
        encoder: PairEncoder | InvalidInputError | None = None,
    ) -> list[Job]:
        """Return the job of each pair, all tokenized at once; an invalid pair does not affect the others.

        Args:
            pairs: The pairs.
            params: The parameters of the call.
            options: The options of the call.
            encoder: The result of ``encoder`` for the call; None to create it.
        """
        encoder = encoder or self.encoder(params, options)
        if isinstance(encoder, InvalidInputError):
            return [Job(error=encoder)] * len(pairs)
        errors = [self._error(pair) for pair in pairs]
        texts = [
            (pair.query, pair.document)
            for pair, error in zip(pairs, errors, strict=True)
            if error is None and isinstance(pair.query, str) and isinstance(pair.document, str)
        ]
        encoded = iter(encoder.encode_many(texts))
        jobs: list[Job] = []
        for pair, pair_error in zip(pairs, errors, strict=True):
            try:
                if pair_error is not None:
                    raise pair_error
                if isinstance(pair.query, str) and isinstance(pair.document, str):
                    request = self._of_texts(next(encoded), params)
                else:
                    request = self._with_images(pair, encoder, params, options)
            except InvalidInputError as error:
                jobs.append(Job(error=error))
            else:
                jobs.append(Job(sequences=(request,)))
        return jobs

    def _error(self, pair: PairItem) -> InvalidInputError | None:
        """Return the error of an invalid query or document; None if both are valid."""
        for name, content, parameter in (("query", pair.query, "data_1"), ("document", pair.document, "data_2")):
            text = content if isinstance(content, str) else in_lines(texts_of(content or ()))
            try:
                self.prompt_tokenizer.check(Prompt(text=text))
            except InvalidInputError as error:
                return InvalidInputError(f"{name}: {error.message}", parameter=parameter)
        return None

    def _with_images(
        self, pair: PairItem, encoder: PairEncoder, params: PoolingParams, options: PairOptions
    ) -> PoolingRequest:
        if self.images is None or not isinstance(encoder, RenderedPairs) or not self.prompts.has_template(options):
            raise InvalidInputError(NO_TEMPLATE, parameter="chat_template")
        sequence = self.images.read(pair, encoder, params)
        sequence.representations = (Representation(TASK, params),)
        return sequence

    def _of_texts(self, encoded: EncodedPair | InvalidInputError, params: PoolingParams) -> PoolingRequest:
        if isinstance(encoded, InvalidInputError):
            raise encoded
        if not encoded.input_ids:
            raise InvalidInputError("the pair has no tokens: there is nothing to compute", parameter="data_1")
        ids, types = np.asarray(encoded.input_ids, dtype=np.int64), encoded.token_type_ids
        if self.prompt_tokenizer.has_unknown_tokens:
            self.prompt_tokenizer.check(Prompt(token_ids=tuple(encoded.input_ids)))
        if self.prompt_tokenizer.images is not None:
            self.prompt_tokenizer.images.check_ids(ids)
        return PoolingRequest(
            input_ids=ids,
            token_type_ids=None if types is None else np.asarray(types, dtype=np.int64),
            representations=(Representation(TASK, params),),
            num_dropped_tokens=encoded.num_dropped_tokens,
        )


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class PairsCall(Call):
    """A call with the encoder of its pairs.

    Attributes:
        encoder: The encoder, or the error if the pairs cannot be encoded.
    """

    encoder: PairEncoder | InvalidInputError


class CrossEncoder:
    """Scores pairs with a classifier with one label, which encodes a query and a document together."""

    pair: Callable[[Content, Content], PairItem] = PairItem

    def __init__(self, ctx: TaskContext) -> None:
        self.pairs = PairReader(ctx)
        self.inner: IOProcessor[Any] = ctx.io_processor(ctx.registry.tasks.get(TASK).spec.io_processor, task=TASK)

    def complete(self, call: Call) -> Call:
        """Complete the parameters, like the IO processor of the task ``classify``."""
        self.pairs.check(call.params, call.options)
        params = self.inner.complete(read_call(self.inner, call.params, {})).params
        encoder = self.pairs.encoder(params, call.options)
        return PairsCall(call.prompts, params, call.options, call.shared, encoder=encoder)

    def encode(self, call: Call) -> list[Job]:
        """Encode each pair as one sequence."""
        assert isinstance(call, PairsCall)  # noqa: S101  returned by ``complete``
        return self.pairs.read(call.prompts, call.params, call.options, call.encoder)

    def decode_many(self, jobs: Sequence[Job]) -> list[ScoringOutput]:
        """Return the scores of pairs."""
        return [ScoringOutput(job.sequences[0].results[0].reshape(())) for job in jobs]
