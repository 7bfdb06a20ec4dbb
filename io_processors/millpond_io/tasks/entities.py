"""The IO processor of the task ``entities``: what the tokens of a text are of, as entities with their characters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.pipeline.io_processor import Asked, Call, IOProcessor, Work
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond.types.prompts import Prompt
from millpond_io.tasks.entity_aggregation import AGGREGATIONS, Aggregation, Piece
from millpond_io.text.processor import TextProcessor, encode_valid

TOKENS = "TokenClassification"  # in the names of architectures that were trained for it
NO_ENTITIES = (
    "This model finds no entities: none of its architectures is a *ForTokenClassification with two classes or more, "
    "pooled by ALL, and a tokenizer."
)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class EntitiesWork(Work):
    """The sequence of a text, with what its tokens stand for.

    Attributes:
        text: The caller's.
        offsets: The characters of each token, from one up to another, in the text with what is put before it.
        special: Whether a token is of no text.
        before: The number of characters of a prompt before the text.
        aggregation: How tokens become entities.
    """

    text: str
    offsets: Sequence[tuple[int, int]]
    special: Sequence[int]
    before: int
    aggregation: Aggregation


class EntitiesProcessor(IOProcessor[Any]):
    """Texts to entities; what the pooler of ``token_classify`` gives is read as logits, whose softmax counts."""

    def __init__(self, ctx: TaskContext) -> None:
        refusal = self.refusal(ctx)
        if refusal is not None or ctx.tokenizer is None:
            raise InvalidInputError(refusal or NO_ENTITIES, parameter="pooling_task")
        super().__init__(ctx)
        self.tokens = TextProcessor(replace(ctx, task="token_classify"))
        self.output: Any = ctx.task_entry.load()
        self.entity: Any = self.output.entity
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
            and ctx.model.classification.num_labels > 1
            and ctx.pooling_type("token_classify") == "ALL"
        )
        return None if fits else NO_ENTITIES

    def complete(self, asked: Asked) -> Asked:
        """Complete and check what is asked."""
        completed = self.tokens.completed(asked, supported=())
        if asked.options.aggregation not in AGGREGATIONS:
            message = f"aggregation={asked.options.aggregation!r}: expected one of {', '.join(AGGREGATIONS)}"
            raise InvalidInputError(message, parameter="aggregation")
        if completed.params.pad_prompt_tokens:
            message = "padding='max_length' is not supported for entities: padding stands for no characters"
            raise InvalidInputError(message, parameter="padding")
        return replace(completed, params=completed.params.model_copy(update={"use_activation": False}))

    def encode(self, call: Call) -> list[Work]:
        """Read and tokenise texts, all at once."""
        return encode_valid(call.items, self._read, self._encode_read)

    def decode(self, work: Work) -> Any:
        """Return the entities of one text."""
        assert isinstance(work, EntitiesWork)  # noqa: S101  made by ``encode``
        return self.output(work.aggregation(self._pieces(work), work.text), work.text)

    def _read(self, data: object) -> Prompt:
        """Check one text."""
        prompt = self.tokens.read(data)
        if prompt.multi_modal_data is not None:
            message = "entities are found in texts, as they are spans of characters; this one has images"
            raise InvalidInputError(message, parameter="multi_modal_data")
        if prompt.text is None:
            message = "entities are found in texts, as they are spans of characters; these are token ids"
            raise InvalidInputError(message, parameter="prompts")
        return prompt

    def _encode_read(self, prompts: Sequence[tuple[Prompt, Asked]]) -> list[Work]:
        works = self.tokens.encode_prompts(prompts)
        return [
            work if work.error is not None else self._spelled(prompt, asked, work.sequences[0])
            for (prompt, asked), work in zip(prompts, works, strict=True)
        ]

    def _spelled(self, prompt: Prompt, asked: Asked, sequence: PoolingRequest) -> EntitiesWork:
        """What the tokens of a sequence stand for: it is tokenised again, since few tasks ask for that."""
        own, whole = prompt.text or "", self.tokens.prompts.before(prompt, asked.params).text or ""
        offsets, special = self._offsets(prompt, whole, asked.params, sequence)
        return EntitiesWork(
            sequences=(sequence,),
            text=own,
            offsets=offsets,
            special=special,
            before=len(whole) - len(own),
            aggregation=Aggregation(
                name=asked.options.aggregation,
                labels=self.ctx.model.labels,
                ignored=frozenset(map(str, asked.options.ignore_labels)),
                spell=self._word,
                entity=self.entity,
            ),
        )

    def _offsets(
        self, prompt: Prompt, text: str, params: PoolingParams, sequence: PoolingRequest
    ) -> tuple[list[tuple[int, int]], list[int]]:
        """The characters of each token that the model reads, and which tokens are of no text."""
        backend = self.tokenizer.backend
        around = prompt.add_special_tokens if params.add_special_tokens is None else params.add_special_tokens
        kept = len(sequence.input_ids) - (self.tokenizer.num_special_tokens if around else 0)
        _, offsets = self.tokens.prompt_tokenizer.encode_with_offsets(text, special=False)
        encoding = backend.encode(text, add_special_tokens=False)
        encoding.truncate(kept, direction=params.truncation_side or "right")
        special: list[int] = backend.post_process(encoding, None, add_special_tokens=around).special_tokens_mask
        own = iter(offsets[len(offsets) - kept :] if params.truncation_side == "left" else offsets)
        return [(0, 0) if mask else next(own) for mask in special], special

    def _pieces(self, work: EntitiesWork) -> list[Piece]:
        (sequence,) = work.sequences
        scores = softmax(sequence.results[0])
        found: list[Piece] = []
        ids = sequence.input_ids.tolist()
        for place, (number, (begin, stop), special) in enumerate(zip(ids, work.offsets, work.special, strict=True)):
            start, end = begin - work.before, stop - work.before
            if special or start < 0:
                continue
            stands, word = work.text[start:end], str(self.tokenizer.backend.id_to_token(number))
            goes_on = len(word) != len(stands) if self.marks_words else _joins(work.text, start)
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
