"""The IO processor ``bge_m3_sparse_plugin``: dense and sparse vectors, in the format of vLLM's plugin."""

from dataclasses import dataclass, replace
from reprlib import repr as brief
from typing import Any

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.pipeline.options import read_call
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
    """The validated fields of the data of a call."""

    prompts: list[str | list[int]]
    embed_task: str
    return_tokens: bool
    add_special_tokens: bool
    dimensions: int | None
    use_activation: bool | None


@dataclass(eq=False, kw_only=True, slots=True)
class BgeM3Job(Job):
    """The sequences of the texts of a call.

    Attributes:
        embed_task: The requested results.
        jobs: The job of each text.
    """

    embed_task: str
    jobs: tuple[Job, ...]


class BgeM3Processor(IOProcessor[Answer]):
    """Converts ``{"input": texts, "embed_task": "dense&sparse"}`` to a dense and a sparse vector for each text."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        reason = self.refusal(ctx)
        if reason is not None:
            raise InvalidInputError(reason, parameter="pooling_task")
        self.represent: IOProcessor[Any] = ctx.io_processor(
            ctx.registry.tasks.get("represent").spec.io_processor, task="represent"
        )

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Return the reason why the model is not supported; None if it returns dense and sparse vectors."""
        if "embed" not in ctx.tasks:
            return "bge_m3_sparse_plugin requires a model that supports the task 'embed'."
        return None if sparse_source(ctx) is not None else f"bge_m3_sparse_plugin: {NO_WEIGHTS}"

    def encode(self, call: Call) -> list[Job]:
        """Validate the fields and tokenize the texts of each call."""
        return encode_valid(call, _read, lambda valid, call: [self._job(fields, call) for fields in valid])

    def _job(self, fields: Fields, call: Call) -> Job:
        dense: dict[str, object] = {"task": "embed", "dimensions": fields.dimensions}
        sparse: dict[str, object] = {"task": "embed_sparse", "extra_kwargs": {"return_tokens": fields.return_tokens}}
        representations = [
            {**representation, "use_activation": fields.use_activation}
            for name, representation in ((DENSE, dense), (SPARSE, sparse))
            if name in fields.embed_task.split("&")
        ]
        params = call.params.model_copy(update={"task": None, "extra_kwargs": None})
        try:
            completed = self.represent.complete(read_call(self.represent, params, {REPRESENTATIONS: representations}))
        except InvalidInputError as error:
            return Job(error=error)
        prompts = [
            {"prompt": prompt, "add_special_tokens": fields.add_special_tokens}
            if isinstance(prompt, str)
            else {"prompt_token_ids": prompt}
            for prompt in fields.prompts
        ]
        jobs = self.represent.encode(replace(completed, prompts=prompts))
        text_error = error_of(jobs)
        if text_error is not None:
            return Job(error=text_error)
        sequences = tuple(sequence for job in jobs for sequence in job.sequences)
        return BgeM3Job(sequences=sequences, embed_task=fields.embed_task, jobs=tuple(jobs))

    def decode(self, job: Job) -> Answer:
        """Return the results of each text, and the number of tokens."""
        assert isinstance(job, BgeM3Job)  # noqa: S101  returned by ``encode``
        data = [
            Answer(index=index, object=job.embed_task, **_record(self.represent.decode(text_job)))
            for index, text_job in enumerate(job.jobs)
        ]
        return Answer(data=data, usage=usage_of(job.sequences))


def _read(data: object) -> Fields:
    """Validate the fields of a call's data.

    Raises:
        InvalidInputError: If a field is invalid.
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


def _record(output: RepresentationsOutput) -> dict[str, Any]:
    record: dict[str, Any] = {"sparse_embedding": None, "dense_embedding": None}
    for result in output.results:
        if isinstance(result, SparseEmbeddingOutput):
            tokens = [None] * result.num_terms if result.tokens is None else map(_token_text, result.tokens)
            record["sparse_embedding"] = [
                Answer(token_id=token_id, weight=weight, token=token)
                for token_id, weight, token in zip(result.indices.tolist(), result.values.tolist(), tokens, strict=True)
            ]
        else:
            record["dense_embedding"] = result.array.tolist()
    return record


def _token_text(token: str) -> str:
    """Return the text of a token: SentencePiece represents a space by another character."""
    return token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ")
