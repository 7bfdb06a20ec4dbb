"""The IO processor of the task ``entities``: what the tokens of a text are of, as entities with their characters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.pipeline.io_processor import IOProcessor
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import EntitiesOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import Prompt
from millpond_io.tasks.entity_aggregation import AGGREGATIONS, SIMPLE, Aggregation, Piece
from millpond_io.text.processor import TextProcessor

AGGREGATION, IGNORED = "aggregation", "ignore_labels"
KNOWN = (AGGREGATION, IGNORED)
OUTSIDE = ("O",)
TOKENS = "TokenClassification"  # in the names of architectures that were trained for it
NO_ENTITIES = (
    "This model finds no entities: none of its architectures is a *ForTokenClassification with two classes or more, "
    "pooled by ALL, and a tokenizer."
)


@dataclass(frozen=True, slots=True)
class Spelled:
    """The text of a request, with what its tokens stand for.

    Attributes:
        text: The caller's.
        offsets: The characters of each token, from one up to another, in the text with what stands before it.
        special: Whether a token is of no text.
        before: How many characters of a prompt stand before the text.
        aggregation: How tokens become entities.
    """

    text: str
    offsets: Sequence[tuple[int, int]]
    special: Sequence[int]
    before: int
    aggregation: Aggregation


class EntitiesProcessor(IOProcessor[EntitiesOutput]):
    """Texts to entities; what the pooler of ``token_classify`` gives is read as logits, whose softmax counts."""

    def __init__(self, ctx: TaskContext) -> None:
        refusal = self.refusal(ctx)
        if refusal is not None or ctx.tokenizer is None:
            raise InvalidInputError(refusal or NO_ENTITIES, parameter="pooling_task")
        super().__init__(ctx)
        self.tokens = TextProcessor(replace(ctx, task="token_classify"))
        self.tokenizer = ctx.tokenizer
        self.unknown = self.tokenizer.backend.token_to_id(self.tokenizer.special_tokens.get("unk_token", ""))
        # Tokenizers that mark what goes on with a word have such a prefix; for others, spaces have to tell.
        self.marks_words = bool(getattr(self.tokenizer.backend.model, "continuing_subword_prefix", None))

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Why the model finds no entities; None if it does."""
        names = ctx.config.get("architectures") or ()
        fits = (
            "token_classify" in ctx.tasks
            and ctx.tokenizer is not None
            and any(TOKENS in str(name) for name in names)
            and ctx.model.num_labels > 1
            and ctx.pooling_type("token_classify") == "ALL"
        )
        return None if fits else NO_ENTITIES

    def parse(self, data: object) -> Prompt:
        """Check one text."""
        prompt = self.tokens.parse(data)
        if prompt.multi_modal_data is not None:
            message = "entities are found in texts, as they are spans of characters; this one has images"
            raise InvalidInputError(message, parameter="multi_modal_data")
        if prompt.text is None:
            message = "entities are found in texts, as they are spans of characters; these are token ids"
            raise InvalidInputError(message, parameter="prompts")
        return prompt

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """What was asked, completed and checked."""
        completed = self.tokens.completed(given, supported=())
        _check_extra(completed.extra_kwargs or {})
        if completed.pad_prompt_tokens:
            message = "padding='max_length' is not supported for entities: padding stands for no characters"
            raise InvalidInputError(message, parameter="padding")
        return completed.model_copy(update={"use_activation": False})

    def pre_process(self, data: Prompt, params: PoolingParams) -> list[PoolingRequest]:
        """The request of one text."""
        (made,) = self.pre_process_many([(data, params)])
        if isinstance(made, InvalidInputError):
            raise made
        return made

    def pre_process_many(
        self, items: Sequence[tuple[Prompt, PoolingParams]]
    ) -> list[list[PoolingRequest] | InvalidInputError]:
        """The requests of each text, all tokenised at once."""
        made = self.tokens.pre_process_many(items)
        for (prompt, params), requests in zip(items, made, strict=True):
            for request in () if isinstance(requests, InvalidInputError) else requests:
                request.note = self._spelled(prompt, params, request)
        return made

    def post_process(self, requests: Sequence[PoolingRequest]) -> EntitiesOutput:
        """The entities of one text."""
        (request,) = requests
        note = cast("Spelled", request.note)
        return EntitiesOutput(note.aggregation(self._pieces(note, request), note.text), note.text)

    def _spelled(self, prompt: Prompt, params: PoolingParams, request: PoolingRequest) -> Spelled:
        """What the tokens of a request stand for: it is tokenised again, since few tasks ask for that."""
        own, whole = prompt.text or "", self.tokens.prompts.before(prompt, params).text or ""
        offsets, special = self._offsets(prompt, whole, params, request)
        extra = params.extra_kwargs or {}
        aggregation = Aggregation(
            name=str(extra.get(AGGREGATION) or SIMPLE),
            labels=self.ctx.model.labels,
            ignored=frozenset(map(str, cast("Sequence[object]", extra.get(IGNORED, OUTSIDE)))),
            spell=self._word,
        )
        return Spelled(own, offsets, special, len(whole) - len(own), aggregation)

    def _offsets(
        self, prompt: Prompt, text: str, params: PoolingParams, request: PoolingRequest
    ) -> tuple[list[tuple[int, int]], list[int]]:
        """The characters of each token that the model reads, and which tokens are of no text."""
        backend = self.tokenizer.backend
        around = prompt.add_special_tokens if params.add_special_tokens is None else params.add_special_tokens
        kept = len(request.input_ids) - (self.tokenizer.num_special_tokens if around else 0)
        _, offsets = self.tokens.renderer.encode_with_offsets(text, special=False)
        encoding = backend.encode(text, add_special_tokens=False)
        encoding.truncate(kept, direction=params.truncation_side or "right")
        special: list[int] = backend.post_process(encoding, None, add_special_tokens=around).special_tokens_mask
        own = iter(offsets[len(offsets) - kept :] if params.truncation_side == "left" else offsets)
        return [(0, 0) if mask else next(own) for mask in special], special

    def _pieces(self, note: Spelled, request: PoolingRequest) -> list[Piece]:
        scores = softmax(request.results[0])
        found: list[Piece] = []
        ids = request.input_ids.tolist()
        for place, (number, (begin, stop), special) in enumerate(zip(ids, note.offsets, note.special, strict=True)):
            start, end = begin - note.before, stop - note.before
            if special or start < 0:
                continue
            stands, word = note.text[start:end], str(self.tokenizer.backend.id_to_token(number))
            goes_on = len(word) != len(stands) if self.marks_words else _joins(note.text, start)
            if number == self.unknown:
                word, goes_on = stands, False
            found.append(Piece(word=word, start=start, end=end, goes_on=goes_on, scores=scores[place], token=place))
        return found

    def _word(self, tokens: Sequence[str]) -> str:
        decoder = self.tokenizer.backend.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of logits as shares of 1."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = raised / raised.sum(axis=-1, keepdims=True)
    return shares


def _joins(text: str, start: int) -> bool:
    """Whether no space stands before a token, or at its beginning."""
    return start > 0 and " " not in text[start - 1 : start + 1]


def _check_extra(extra: Mapping[str, object]) -> None:
    """Refuse what entities know nothing of.

    Raises:
        InvalidInputError: If there is something; names it.
    """
    unknown = next((name for name in extra if name not in KNOWN), None)
    if unknown is not None:
        message = f"entities know no {unknown!r}; there are: {', '.join(KNOWN)}"
        raise InvalidInputError(message, parameter=unknown if unknown == "input_type" else "extra_kwargs")
    name, ignored = extra.get(AGGREGATION), extra.get(IGNORED, ())
    if name is not None and name not in AGGREGATIONS:
        message = f"{AGGREGATION}={name!r}: expected one of {', '.join(AGGREGATIONS)}"
        raise InvalidInputError(message, parameter=AGGREGATION)
    if isinstance(ignored, str) or not isinstance(ignored, Sequence):
        message = f"{IGNORED} must be a list of names of classes; got {ignored!r}"
        raise InvalidInputError(message, parameter=IGNORED)
