"""The IO processor ``bge_m3_sparse_plugin``: vectors and weights of texts, in the form of vLLM's plugin."""

from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Asked, Call, IOProcessor, Item, Work
from millpond.pipeline.options import read_asked
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import RepresentationsOutput, SparseEmbeddingOutput
from millpond_io.plugins.data import Answer, error_of, prompts_of, read_fields, typed, usage_of
from millpond_io.tasks.embed_sparse import NO_WEIGHTS, sparse_source
from millpond_io.tasks.represent import REPRESENTATIONS
from millpond_io.text.processor import encode_valid

DENSE, SPARSE = "dense", "sparse"
BOTH = f"{DENSE}&{SPARSE}"
FIELDS = ("input", "embed_task", "return_tokens", "add_special_tokens", "dimensions", "use_activation")


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The fields of the data of a call."""

    prompts: list[str | list[int]]
    embed_task: str
    return_tokens: bool
    add_special_tokens: bool
    dimensions: int | None
    use_activation: bool | None


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class BgeM3Work(Work):
    """The sequences of the texts of a call.

    Attributes:
        embed_task: The results that are wanted.
        each: The work of each text.
    """

    embed_task: str
    each: tuple[Work, ...]


class BgeM3Processor(IOProcessor[Answer]):
    """``{"input": texts, "embed_task": "dense&sparse"}`` to a vector and the weights of tokens for each text."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        reason = self.refusal(ctx)
        if reason is not None:
            raise InvalidInputError(reason, parameter="pooling_task")
        self.represent = ctx.io_processor(ctx.registry.tasks.get("represent").spec.io_processor, task="represent")

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Why the model cannot be served; None if it gives both vectors and weights."""
        if "embed" not in ctx.tasks:
            return "bge_m3_sparse_plugin needs a model that serves 'embed'."
        return None if sparse_source(ctx) is not None else f"bge_m3_sparse_plugin: {NO_WEIGHTS}"

    def encode(self, call: Call) -> list[Work]:
        """Check the fields, and tokenise the texts of each call."""
        return encode_valid(call.items, _read, lambda read: [self._work(fields, asked) for fields, asked in read])

    def _work(self, fields: Fields, asked: Asked) -> Work:
        dense: dict[str, object] = {"task": "embed", "dimensions": fields.dimensions}
        sparse: dict[str, object] = {"task": "embed_sparse", "extra_kwargs": {"return_tokens": fields.return_tokens}}
        wanted = [
            {**each, "use_activation": fields.use_activation}
            for name, each in ((DENSE, dense), (SPARSE, sparse))
            if name in fields.embed_task.split("&")
        ]
        params = asked.params.model_copy(update={"task": None, "extra_kwargs": None})
        try:
            own = self.represent.complete(read_asked(self.represent, params, {REPRESENTATIONS: wanted}))
        except InvalidInputError as error:
            return Work(error=error)
        prompts = [
            {"prompt": prompt, "add_special_tokens": fields.add_special_tokens}
            if isinstance(prompt, str)
            else {"prompt_token_ids": prompt}
            for prompt in fields.prompts
        ]
        works = self.represent.encode(Call([Item(prompt, own) for prompt in prompts]))
        fault = error_of(works)
        if fault is not None:
            return Work(error=fault)
        sequences = tuple(sequence for work in works for sequence in work.sequences)
        return BgeM3Work(sequences=sequences, embed_task=fields.embed_task, each=tuple(works))

    def decode(self, work: Work) -> Answer:
        """Collect the results of each text, and the number of tokens."""
        assert isinstance(work, BgeM3Work)  # noqa: S101  made by ``encode``
        data = [
            Answer(index=place, object=work.embed_task, **_told(self.represent.decode(own)))
            for place, own in enumerate(work.each)
        ]
        return Answer(data=data, usage=usage_of(work.sequences))


def _read(data: object) -> Fields:
    """Check the fields of a call's data.

    Raises:
        InvalidInputError: If one does not fit.
    """
    fields = read_fields(data, FIELDS)
    task = fields.get("embed_task", BOTH)
    if not isinstance(task, str) or task not in (DENSE, SPARSE, BOTH):
        message = f"data: embed_task must be {DENSE!r}, {SPARSE!r} or {BOTH!r}; got {brief(task)}"
        raise InvalidInputError(message, parameter="data")
    return Fields(
        prompts=prompts_of(fields),
        embed_task=task,
        return_tokens=typed(fields, "return_tokens", bool, default=False),
        add_special_tokens=typed(fields, "add_special_tokens", bool, default=True),
        dimensions=typed(fields, "dimensions", int, default=None),
        use_activation=typed(fields, "use_activation", bool, default=None),
    )


def _told(output: RepresentationsOutput) -> dict[str, Any]:
    told: dict[str, Any] = {"sparse_embedding": None, "dense_embedding": None}
    for result in output.results:
        if isinstance(result, SparseEmbeddingOutput):
            tokens = [None] * result.num_terms if result.tokens is None else map(_written, result.tokens)
            told["sparse_embedding"] = [
                Answer(token_id=token_id, weight=weight, token=token)
                for token_id, weight, token in zip(result.indices.tolist(), result.values.tolist(), tokens, strict=True)
            ]
        else:
            told["dense_embedding"] = result.array.tolist()
    return told


def _written(token: str) -> str:
    """Return a token as the text that it stands for: SentencePiece marks a space by another character."""
    return token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ")
