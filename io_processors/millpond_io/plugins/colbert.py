"""The IO processor ``colbert_query_plugin``: token vectors of queries or documents, in the format of vLLM's plugin."""

from dataclasses import dataclass, replace
from reprlib import repr as brief
from typing import Any

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.pipeline.options import read_call
from millpond.types.errors import InvalidInputError
from millpond_io.plugins.data import Answer, error_of, prompts_of, read_fields, typed, usage_of
from millpond_io.retrieval.input_types import INPUT_TYPE, INPUT_TYPES
from millpond_io.retrieval.late_interaction import ends_of, query_markers
from millpond_io.text.processor import encode_valid

FIELDS = ("input", "input_type", "add_special_tokens")
TRUNCATION_PARAMS = {"task": None, "truncate_prompt_tokens": -1, "extra_kwargs": None}  # as in vLLM's plugin
UNSUPPORTED_MODEL = (
    "colbert_query_plugin requires a model with token vectors and settings for queries and documents, such as ColBERT."
)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts and their type, "query" or "document"."""

    prompts: list[str | list[int]]
    input_type: str


@dataclass(eq=False, kw_only=True, slots=True)
class ColBertJob(Job):
    """The sequences of the texts of a call.

    Attributes:
        input_type: "query" or "document".
        jobs: The job of each text.
    """

    input_type: str
    jobs: tuple[Job, ...]


class ColBertProcessor(IOProcessor[Answer]):
    """Converts ``{"input": texts, "input_type": "query"}`` to the token vectors of each text."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        reason = self.refusal(ctx)
        if reason is not None:
            raise InvalidInputError(reason, parameter="pooling_task")
        task = ctx.registry.tasks.get("token_embed").spec
        self.embed: IOProcessor[Any] = ctx.io_processor(task.io_processor, task=task.name)

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Return the reason why the model is not supported; None if it is."""
        is_supported = "token_embed" in ctx.tasks and ctx.model.retrieval.late_interaction is not None
        return None if is_supported else UNSUPPORTED_MODEL

    def encode(self, call: Call) -> list[Job]:
        """Validate the fields and tokenize the texts of each call."""
        return encode_valid(call, _read, lambda valid, call: [self._job(texts, call) for texts in valid])

    def _job(self, texts: Texts, call: Call) -> Job:
        params = call.params.model_copy(update=TRUNCATION_PARAMS)
        try:
            completed = self.embed.complete(read_call(self.embed, params, {INPUT_TYPE: texts.input_type}))
        except InvalidInputError as error:
            return Job(error=error)
        prompts = [
            prompt if isinstance(prompt, str) else self._with_special_tokens(prompt, texts) for prompt in texts.prompts
        ]
        jobs = self.embed.encode(replace(completed, prompts=prompts))
        text_error = error_of(jobs)
        if text_error is not None:
            return Job(error=text_error)
        sequences = tuple(sequence for job in jobs for sequence in job.sequences)
        return ColBertJob(sequences=sequences, input_type=texts.input_type, jobs=tuple(jobs))

    def decode(self, job: Job) -> Answer:
        """Return the vectors of each text, and the number of tokens."""
        assert isinstance(job, ColBertJob)  # noqa: S101  returned by ``encode``
        outputs = [self.embed.decode(text_job) for text_job in job.jobs]
        data = [
            Answer(index=index, object="embedding", input_type=job.input_type, embedding=output.array.tolist())
            for index, output in enumerate(outputs)
        ]
        return Answer(data=data, usage=usage_of(job.sequences))

    def _with_special_tokens(self, ids: list[int], texts: Texts) -> list[int]:
        """Return token ids with special tokens around them, truncated to the maximum length."""
        tokenizer, markers = self.ctx.tokenizer, query_markers(self.ctx)
        if tokenizer is None or markers is None:
            return ids
        first, last = ends_of(tokenizer)
        max_ids = markers.readers[texts.input_type].room - len(first) - len(last)
        return [*first, *ids[:max_ids], *last]


def _read(data: object) -> Texts:
    """Validate the fields of a call's data.

    Raises:
        InvalidInputError: If a field is invalid.
    """
    fields = read_fields(data, FIELDS)
    input_type = fields.get(INPUT_TYPE)
    if not isinstance(input_type, str) or input_type not in INPUT_TYPES:
        message = f"data: {INPUT_TYPE} must be {' or '.join(map(repr, INPUT_TYPES))}; got {brief(input_type)}"
        raise InvalidInputError(message, parameter="data")
    if not typed(fields, "add_special_tokens", bool, default=True):
        message = "data: add_special_tokens=false is not supported: markers follow the special tokens"
        raise InvalidInputError(message, parameter="data")
    return Texts(prompts=prompts_of(fields), input_type=input_type)
