"""TextProcessor: base class of the IO processors of texts. By default a prompt becomes one sequence and one output."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import PoolingOutput
from millpond_io.chat.images import conversation_renderer
from millpond_io.chat.text_messages import text_messages
from millpond_io.chunking.late import Chunked, check_late_chunking
from millpond_io.media.prefetch import prefetch_images
from millpond_io.prompts import Prompt, parse_prompt
from millpond_io.retrieval.late_interaction import input_type
from millpond_io.text.named_prompts import Prompts
from millpond_io.text.prompt_tokenizer import PromptTokenizer, TokenizedPrompt

if TYPE_CHECKING:
    from millpond.types.params import PoolingParams

STEP_FIELDS = ("step_tag_id", "returned_token_ids")
POOLING_FIELDS = ("use_activation", "dimensions", *STEP_FIELDS)
T = TypeVar("T")


@dataclass(eq=False, kw_only=True, slots=True)
class TextJob(Job):
    """The sequences of a prompt.

    Attributes:
        call: The call of the prompt.
        kept: True for each token whose vector is returned, [num_tokens], bool; None for all.
        chunked: The chunks whose vectors are returned instead of token vectors; None for none.
        truncate_dim: The number of dimensions to keep of a merged vector; None for all.
    """

    call: Call
    kept: NDArray[np.bool_] | None = None
    chunked: Chunked | None = None
    truncate_dim: int | None = None


class TextProcessor(IOProcessor[PoolingOutput]):
    """Converts texts or token ids to the result of a task's pooler."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.prompt_tokenizer = PromptTokenizer(ctx)
        self.prompts = Prompts(ctx)
        self.spec = ctx.task_spec
        self.per_token = self.spec.per_token
        self.conversations = conversation_renderer(ctx, self.prompt_tokenizer.images)
        self.messages = text_messages(ctx, self.conversations.template)
        # A prompt in a separate message is pooled with the text, as in sentence-transformers.
        self.pools_prompts = ctx.model.prompting.include_prompt or self.per_token or self.messages is not None
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
        sequence = job.sequences[0]
        return self.result(sequence.results[0], sequence, job)

    def read(self, data: object) -> Prompt:
        """Validate one prompt; a conversation is converted to text.

        Raises:
            InvalidInputError: If it is invalid.
        """
        prompt = Prompt(text=data) if type(data) is str else parse_prompt(data)
        if prompt.conversation is not None:
            prompt = self.conversations.render(prompt.conversation)
        return self.prompt_tokenizer.check(prompt)

    def encode_prompts(self, prompts: Sequence[Prompt], call: Call) -> list[Job]:
        """Tokenize validated prompts, all at once."""
        errors: dict[int, Job] = {}
        prepared: list[tuple[Prompt, PoolingParams]] = []
        for index, prompt in enumerate(prompts):
            try:
                prepared.append(self.prepared(prompt, call))
            except InvalidInputError as error:
                errors[index] = Job(error=error)
        jobs: list[Job] = []
        for (prompt, _), tokenized in zip(prepared, self.prompt_tokenizer.tokenize(prepared), strict=True):
            if isinstance(tokenized, InvalidInputError):
                jobs.append(Job(error=tokenized))
                continue
            try:
                jobs.append(self.job(prompt, call, tokenized))
            except InvalidInputError as error:
                jobs.append(Job(error=error))
        return with_errors(jobs, errors) if errors else jobs

    def prepared(self, prompt: Prompt, call: Call) -> tuple[Prompt, "PoolingParams"]:
        """Return the prompt with the instruction before its text, or as the chat template renders it, and its params.

        Raises:
            InvalidInputError: If the model does not support it.
        """
        params = call.params
        if params.add_special_tokens is False and prompt.text is not None:
            prompt = replace(prompt, add_special_tokens=False)
        if self.messages is not None and prompt.text is not None and not prompt.is_written:
            return self.messages.render_prompt(prompt, self.prompts.of(params), input_type(call.options)), params
        if self.prompts.default or params.prompt or params.prompt_name or params.adapter:
            prompt = self.prompts.before(prompt, params)
        return prompt, params

    def job(self, prompt: Prompt, call: Call, tokenized: TokenizedPrompt) -> Job:
        """Return the sequences of a tokenized prompt.

        Raises:
            InvalidInputError: If no token is left to pool.
        """
        first = 0 if self.pools_prompts else self.first_pooled(prompt, tokenized, call)
        return self.job_of(tokenized, call, first)

    def job_of(self, tokenized: TokenizedPrompt, call: Call, first: int) -> Job:
        """Return the sequences for the token ids of a prompt: one, unless a subclass returns several.

        Args:
            tokenized: The token ids.
            call: The call of the prompt.
            first: The index of the first token that is pooled.
        """
        return TextJob(sequences=(self.sequence(tokenized, call, first),), call=call)

    def sequence(self, tokenized: TokenizedPrompt, call: Call, first: int) -> PoolingRequest:
        """Return one sequence for the token ids of a prompt."""
        span = (first, len(tokenized.input_ids)) if first else None
        return PoolingRequest(
            input_ids=tokenized.input_ids,
            representations=(Representation(self.task, call.params, span),),
            features=tokenized.features,
            num_dropped_tokens=tokenized.num_dropped_tokens,
        )

    def result(self, array: NDArray[np.float32], sequence: PoolingRequest, job: TextJob) -> PoolingOutput:
        """Return one result as the task's type of output.

        Args:
            array: The pooler's result.
            sequence: Its sequence.
            job: The job that ``encode`` returned.
        """
        del sequence, job
        return self.output(array)

    def first_pooled(self, prompt: Prompt, tokenized: TokenizedPrompt, call: Call) -> int:
        """Return the index of the first token that is pooled: 0, or the first token after an excluded instruction.

        Special tokens before the instruction are excluded too, as in sentence-transformers.

        Raises:
            InvalidInputError: If no token is left.
        """
        if self.pools_prompts or prompt.text is None:
            return 0
        first = self.prompts.num_tokens(call.params, special=prompt.add_special_tokens)
        if first == 0:
            return 0
        special = self.prompts.special_ids
        ids: list[int] = tokenized.input_ids.tolist()
        if call.params.truncation_side == "left":
            leading = next((index for index, token in enumerate(ids) if token not in special), len(ids))
            first = max(first - tokenized.num_dropped_tokens, leading)
        first = min(first, len(ids) - (ids[-1] in special))
        if first >= min(len(ids), self.ctx.model.max_model_len):
            message = (
                f"the prompt takes {first} of the {len(ids)} tokens, and the model excludes prompts from pooling "
                f"(include_prompt): nothing is left of the text. Use a shorter prompt; {self.ctx.model.model!r} reads "
                f"{self.ctx.model.max_model_len} tokens"
            )
            raise InvalidInputError(message, parameter="prompt")
        return first

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
