"""IO processor of the task ``entities``: token classes of a text to entities with their characters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond_io.tasks.entity_aggregation import AGGREGATIONS, Aggregation, Piece
from millpond_io.text.processor import TextProcessor, encode_valid
from millpond_text.prompt import Prompt
from millpond_text.steps import step_of_plugin

ARCHITECTURE_SUFFIX = "TokenClassification"  # in the names of architectures that were trained for it
NO_ENTITIES = (
    "This model finds no entities: the task requires a *ForTokenClassification architecture with at least two classes, "
    "the pooling type ALL, and a tokenizer."
)


@dataclass(eq=False, kw_only=True, slots=True)
class EntitiesJob(Job):
    """The sequence of a text, with the characters of its tokens.

    Attributes:
        text: The caller's text.
        offsets: The characters of each token, as (start, stop), in the text with the instruction before it.
        special: 1 for each special token, otherwise 0.
        before: The number of characters of the instruction before the text.
        aggregation: Combines tokens to entities.
    """

    text: str
    offsets: Sequence[tuple[int, int]]
    special: Sequence[int]
    before: int
    aggregation: Aggregation


class EntitiesProcessor(IOProcessor[Any]):
    """Converts texts to entities, from the softmax over the logits of the pooler of ``token_classify``."""

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
        # WordPiece tokenizers mark the continuation of a word with a prefix; for others, spaces separate words.
        self.marks_words = bool(getattr(self.tokenizer.backend.model, "continuing_subword_prefix", None))

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Return why the model does not serve the task; None if it does."""
        names = ctx.config.get("architectures") or ()
        is_supported = (
            "token_classify" in ctx.tasks
            and ctx.tokenizer is not None
            and any(ARCHITECTURE_SUFFIX in str(name) for name in names)
            and ctx.model.classification.num_labels > 1
            and ctx.pooling_type("token_classify") == "ALL"
        )
        if not is_supported:
            return NO_ENTITIES
        step = step_of_plugin(replace(ctx, task="token_classify"))
        return None if step is None else f"Entities are spans of the caller's text, which the {step} may change."

    def complete(self, call: Call) -> Call:
        """Validate the parameters, and fill in defaults."""
        completed = self.tokens.completed(call, supported=())
        if call.options.aggregation not in AGGREGATIONS:
            message = f"aggregation={call.options.aggregation!r}: expected one of {', '.join(AGGREGATIONS)}"
            raise InvalidInputError(message, parameter="aggregation")
        if completed.params.pad_prompt_tokens:
            message = "padding='max_length' is not supported for entities: padding tokens have no characters"
            raise InvalidInputError(message, parameter="padding")
        return replace(completed, params=completed.params.model_copy(update={"use_activation": False}))

    def encode(self, call: Call) -> list[Job]:
        """Validate and tokenize texts, all at once."""
        return encode_valid(call, self._read, self._encode_read)

    def decode(self, job: Job) -> Any:
        """Return the entities of one text."""
        assert isinstance(job, EntitiesJob)  # noqa: S101  returned by ``encode``
        return self.output(job.aggregation(self._pieces(job), job.text), job.text)

    def _read(self, data: object) -> Prompt:
        """Validate one text."""
        prompt = self.tokens.read(data)
        if prompt.multi_modal_data is not None:
            message = "entities are found in texts, as they are spans of characters; this one has images"
            raise InvalidInputError(message, parameter="multi_modal_data")
        if prompt.text is None:
            message = "entities are found in texts, as they are spans of characters; these are token ids"
            raise InvalidInputError(message, parameter="prompts")
        return prompt

    def _encode_read(self, prompts: Sequence[Prompt], call: Call) -> list[Job]:
        texts = [prompt.text or "" for prompt in prompts]
        jobs = self.tokens.encode_prompts(prompts, call)
        return [
            job if job.error is not None else self._entities_job(text, prompt, call, job.sequences[0])
            for text, prompt, job in zip(texts, prompts, jobs, strict=True)
        ]

    def _entities_job(self, text: str, prompt: Prompt, call: Call, sequence: PoolingRequest) -> EntitiesJob:
        """Return the job of a text. It is tokenized a second time, because only this task needs offsets."""
        whole = self.tokens.prompts.of(call.params) + text
        offsets, special = self._offsets(prompt, whole, call.params, sequence)
        return EntitiesJob(
            sequences=(sequence,),
            text=text,
            offsets=offsets,
            special=special,
            before=len(whole) - len(text),
            aggregation=Aggregation(
                name=call.options.aggregation,
                labels=self.ctx.model.labels,
                ignored=frozenset(map(str, call.options.ignore_labels)),
                spell=self._word,
                entity=self.entity,
            ),
        )

    def _offsets(
        self, prompt: Prompt, text: str, params: PoolingParams, sequence: PoolingRequest
    ) -> tuple[list[tuple[int, int]], list[int]]:
        """Return the characters of each token, and 1 for each special token."""
        backend = self.tokenizer.backend
        adds_special = prompt.add_special_tokens if params.add_special_tokens is None else params.add_special_tokens
        kept = len(sequence.input_ids) - (self.tokenizer.num_special_tokens if adds_special else 0)
        _, offsets = self.tokens.prompt_tokenizer.encode_with_offsets(text, special=False)
        encoding = backend.encode(text, add_special_tokens=False)
        encoding.truncate(kept, direction=params.truncation_side or "right")
        special: list[int] = backend.post_process(encoding, None, add_special_tokens=adds_special).special_tokens_mask
        text_offsets = iter(offsets[len(offsets) - kept :] if params.truncation_side == "left" else offsets)
        return [(0, 0) if mask else next(text_offsets) for mask in special], special

    def _pieces(self, job: EntitiesJob) -> list[Piece]:
        (sequence,) = job.sequences
        scores = softmax(sequence.results[0])
        pieces: list[Piece] = []
        ids = sequence.input_ids.tolist()
        for index, (token, (begin, stop), special) in enumerate(zip(ids, job.offsets, job.special, strict=True)):
            start, end = begin - job.before, stop - job.before
            if special or start < 0:
                continue
            characters, word = job.text[start:end], str(self.tokenizer.backend.id_to_token(token))
            continues = len(word) != len(characters) if self.marks_words else _continues_word(job.text, start)
            if token == self.unknown:
                word, continues = characters, False
            pieces.append(
                Piece(word=word, start=start, end=end, continues_word=continues, scores=scores[index], token=index)
            )
        return pieces

    def _word(self, tokens: Sequence[str]) -> str:
        decoder = self.tokenizer.backend.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of rows of logits, [rows, num_labels]."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def _continues_word(text: str, start: int) -> bool:
    """True if there is no space before a token, nor at its start."""
    return start > 0 and " " not in text[start - 1 : start + 1]
