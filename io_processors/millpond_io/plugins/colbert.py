"""The IO processor ``colbert_query_plugin``: queries or documents to vectors of tokens, as vLLM's plugin has it."""

from dataclasses import dataclass, replace
from reprlib import repr as brief

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Asked, Call, IOProcessor, Item, Work
from millpond.pipeline.options import read_asked
from millpond.types.errors import InvalidInputError
from millpond_io.plugins.data import Answer, error_of, prompts_of, read_fields, typed, usage_of
from millpond_io.retrieval.late_interaction import INPUT_TYPE, INPUT_TYPES, ends_of, readers
from millpond_io.text.processor import encode_valid

FIELDS = ("input", "input_type", "add_special_tokens")
WHOLE = {
    "task": None,
    "truncate_prompt_tokens": -1,
    "extra_kwargs": None,
}  # what is too long is cut, as in vLLM's plugin
NO_SIDES = (
    "colbert_query_plugin needs a model of token vectors whose files say how queries and documents are read, as "
    "ColBERT's do."
)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts, and whether they are queries or documents."""

    prompts: list[str | list[int]]
    input_type: str


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class ColBertWork(Work):
    """The sequences of the texts of a call.

    Attributes:
        input_type: Whether they are queries or documents.
        each: The work of each text.
    """

    input_type: str
    each: tuple[Work, ...]


class ColBertProcessor(IOProcessor[Answer]):
    """``{"input": texts, "input_type": "query"}`` to the vectors of the tokens of each text."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        reason = self.refusal(ctx)
        if reason is not None:
            raise InvalidInputError(reason, parameter="pooling_task")
        task = ctx.registry.tasks.get("token_embed").spec
        self.embed = ctx.io_processor(task.io_processor, task=task.name)

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Why the model cannot be served; None if it tells queries and documents apart."""
        return None if "token_embed" in ctx.tasks and ctx.model.retrieval.late_interaction is not None else NO_SIDES

    def encode(self, call: Call) -> list[Work]:
        """Check the fields, and tokenise the texts of each call."""
        return encode_valid(call.items, _read, lambda read: [self._work(texts, asked) for texts, asked in read])

    def _work(self, texts: Texts, asked: Asked) -> Work:
        params = asked.params.model_copy(update=WHOLE)
        try:
            own = self.embed.complete(read_asked(self.embed, params, {INPUT_TYPE: texts.input_type}))
        except InvalidInputError as error:
            return Work(error=error)
        prompts = [prompt if isinstance(prompt, str) else self._with_ends(prompt, texts) for prompt in texts.prompts]
        works = self.embed.encode(Call([Item(prompt, own) for prompt in prompts]))
        fault = error_of(works)
        if fault is not None:
            return Work(error=fault)
        sequences = tuple(sequence for work in works for sequence in work.sequences)
        return ColBertWork(sequences=sequences, input_type=texts.input_type, each=tuple(works))

    def decode(self, work: Work) -> Answer:
        """Return the vectors of each text, and the number of tokens that were read."""
        assert isinstance(work, ColBertWork)  # noqa: S101  made by ``encode``
        outputs = [self.embed.decode(own) for own in work.each]
        data = [
            Answer(index=place, object="embedding", input_type=work.input_type, embedding=output.array.tolist())
            for place, output in enumerate(outputs)
        ]
        return Answer(data=data, usage=usage_of(work.sequences))

    def _with_ends(self, ids: list[int], data: Texts) -> list[int]:
        """Return the token ids of a text with the special tokens around them, cut to what is read of a text."""
        tokenizer = self.ctx.tokenizer
        if tokenizer is None:
            return ids
        first, last = ends_of(tokenizer)
        room = readers(replace(self.ctx, task="token_embed"))[data.input_type].room - len(first) - len(last)
        return [*first, *ids[:room], *last]


def _read(data: object) -> Texts:
    """Check the fields of a call's data.

    Raises:
        InvalidInputError: If one does not fit.
    """
    fields = read_fields(data, FIELDS)
    kind = fields.get(INPUT_TYPE)
    if not isinstance(kind, str) or kind not in INPUT_TYPES:
        message = f"data: {INPUT_TYPE} must be {' or '.join(map(repr, INPUT_TYPES))}; got {brief(kind)}"
        raise InvalidInputError(message, parameter="data")
    if not typed(fields, "add_special_tokens", bool, default=True):
        message = "data: add_special_tokens=false is not supported: markers follow the special tokens"
        raise InvalidInputError(message, parameter="data")
    return Texts(prompts=prompts_of(fields), input_type=kind)
