"""TextProcessor: base class of the IO processors of texts. By default a prompt becomes one sequence and one output."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import PoolingOutput
from millpond_io.chat.images import conversation_renderer
from millpond_io.chunking.late import check_late_chunking
from millpond_io.media.prefetch import prefetch_images
from millpond_io.prompts import parse_prompt
from millpond_io.text.named_prompts import NamedPrompts
from millpond_io.text.prompt_tokenizer import PromptTokenizer
from millpond_text.prompt import Prompt, TextJob
from millpond_text.steps import TextSteps

STEP_FIELDS = ("step_tag_id", "returned_token_ids")
POOLING_FIELDS = ("use_activation", "dimensions", *STEP_FIELDS)
T = TypeVar("T")


class TextProcessor(IOProcessor[PoolingOutput]):
    """Converts texts or token ids to the result of a task's pooler."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.prompt_tokenizer = PromptTokenizer(ctx)
        self.prompts = NamedPrompts(ctx)
        self.steps = TextSteps(ctx)
        self.spec = ctx.task_spec
        self.per_token = self.spec.per_token
        self.conversations = conversation_renderer(ctx, self.prompt_tokenizer.images)
        self.task = self.spec.name
        self.output: type[PoolingOutput] = ctx.task_entry.load()
        self.reads_images = "image" in ctx.model.multimodal.modalities
        self.is_step = self.per_token and ctx.pooling_type(self.task) == "STEP"

    def encode(self, call: Call) -> list[Job]:
        """Validate and tokenize prompts, all texts at once."""
        return self.encode_read(call, self.read, self.encode_prompts)

    def encode_read(
        self, call: Call, read: Callable[[Any], T], encode: Callable[[list[T], Call], list[Job]]
    ) -> list[Job]:
        """Return the jobs of prompts, see ``encode_valid``; their remote images are fetched concurrently."""
        if not self.reads_images:
            return encode_valid(call, read, encode)
        with prefetch_images(call.prompts):
            return encode_valid(call, read, encode)

    def decode(self, job: Job) -> PoolingOutput:
        """Return the result of one prompt, as the task's type of output."""
        assert isinstance(job, TextJob)  # noqa: S101  returned by ``encode``
        return self.finished(job.sequences[0].results[0], job)

    def read(self, data: object) -> Prompt:
        """Validate one prompt; a conversation is converted to text.

        Raises:
            InvalidInputError: If it is invalid.
        """
        prompt = Prompt(text=data) if type(data) is str else parse_prompt(data)
        if not isinstance(prompt, Prompt):
            prompt = self.conversations.render(prompt)
        return self.prompt_tokenizer.check(prompt)

    def encode_prompts(self, prompts: Sequence[Prompt], call: Call) -> list[Job]:
        """Tokenize validated prompts, all at once; the text steps change them."""
        errors: dict[int, Job] = {}
        prepared: list[Prompt] = []
        for index, prompt in enumerate(prompts):
            if call.params.add_special_tokens is False and prompt.text is not None:
                prompt.add_special_tokens = False
            try:
                for step in self.steps.on_prompt:
                    step(prompt, call)
            except InvalidInputError as error:
                errors[index] = Job(error=error)
            else:
                prepared.append(prompt)
        tokenized = self.prompt_tokenizer.tokenize(prepared, call.params)
        jobs = [self._job(prompt, it, call) for prompt, it in zip(prepared, tokenized, strict=True)]
        return with_errors(jobs, errors) if errors else jobs

    def _job(self, prompt: Prompt, sequence: PoolingRequest | InvalidInputError, call: Call) -> Job:
        if isinstance(sequence, InvalidInputError):
            return Job(error=sequence)
        sequence.representations = self.representations(call)
        job = TextJob(sequences=(sequence,), call=call, prompt=prompt)
        try:
            for step in self.steps.on_tokens:
                step(job)
        except InvalidInputError as error:
            return Job(error=error)
        return job

    def representations(self, call: Call) -> tuple[Representation, ...]:
        """Return the results that are requested of the sequence of a prompt."""
        return (Representation(self.task, call.params),)

    def finished(self, array: NDArray[np.float32], job: TextJob) -> PoolingOutput:
        """Return one result as the task's type of output, after the text steps.

        Args:
            array: The pooler's result.
            job: The job that ``encode`` returned.
        """
        output = self.result(array, job)
        for step in self.steps.on_output:
            output = step(output, job)
        return output

    def result(self, array: NDArray[np.float32], job: TextJob) -> PoolingOutput:
        """Return one result as the task's type of output; see ``finished``."""
        del job
        return self.output(array)

    def completed(self, call: Call, *, supported: Collection[str]) -> Call:
        """Return the parameters with the model's defaults for fields that are not set.

        Args:
            call: The call.
            supported: The pooling fields that the task supports; the others must be None.

        Raises:
            InvalidInputError: If another field is set; names it.
        """
        params = call.params
        self.prompts.check(params)
        lengths = self.prompt_tokenizer.lengths
        lengths.check_truncation(params)
        if params.late_chunking_params is not None:
            check_late_chunking(self.ctx, call)
        config = self.ctx.pooler_config
        allowed = {*supported, *(STEP_FIELDS if self.is_step else ())}
        settings: dict[str, object] = {"task": self.task, "on_overflow": lengths.overflow(params)}
        for name in POOLING_FIELDS:
            value = getattr(params, name)
            if value is not None and name not in allowed:
                message = (
                    f"Task {self.task} only supports {[name for name in POOLING_FIELDS if name in allowed]} "
                    f"parameters, does not support ['{name}'] parameters"
                )
                raise InvalidInputError(message, parameter=name)
            if value is None and name in allowed and getattr(config, name) is not None:
                settings[name] = getattr(config, name)
        if params.use_activation is None:
            settings.setdefault("use_activation", True)
        return replace(call, params=self.prompts.with_adapter(params).model_copy(update=settings))


def encode_valid(call: Call, read: Callable[[Any], T], encode: Callable[[list[T], Call], list[Job]]) -> list[Job]:
    """Return the jobs of prompts: the valid ones are encoded together, the others carry their error.

    Args:
        call: The prompts.
        read: Validates a prompt; raises InvalidInputError.
        encode: Encodes all valid prompts.
    """
    valid: list[T] = []
    errors: dict[int, Job] = {}
    for index, data in enumerate(call.prompts):
        try:
            valid.append(read(data))
        except InvalidInputError as error:
            errors[index] = Job(error=error)
    jobs = encode(valid, call) if valid else []
    return with_errors(jobs, errors) if errors else jobs


def with_errors(jobs: Sequence[Job], errors: Mapping[int, Job]) -> list[Job]:
    """Return the jobs of valid prompts, in order, and those of invalid ones at their positions."""
    valid = iter(jobs)
    return [errors[index] if index in errors else next(valid) for index in range(len(jobs) + len(errors))]
