"""TextProcessor: what the IO processors of texts share. A prompt becomes sequences, by default one, and one output."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Asked, Call, IOProcessor, Item, Work
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ArrayOutput
from millpond.types.prompts import Prompt, parse_prompt
from millpond_io.chat.images import conversations_of
from millpond_io.chat.text_messages import text_messages
from millpond_io.chunking.late import Chunked, check_late_chunking
from millpond_io.retrieval.late_interaction import input_type
from millpond_io.text.named_prompts import Prompts
from millpond_io.text.render import Rendered, Renderer

STEP_FIELDS = ("step_tag_id", "returned_token_ids")
POOLING_FIELDS = ("use_activation", "dimensions", *STEP_FIELDS)
T = TypeVar("T")


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class TextWork(Work):
    """The sequences of a prompt.

    Attributes:
        asked: What was asked of it.
        kept: Which tokens' vectors are returned, [num_tokens], bool; None for all.
        chunked: The chunks whose vectors are returned instead of those of tokens; None for none.
        truncate_dim: The dimensions that are kept of a merged vector; None for all.
    """

    asked: Asked
    kept: NDArray[np.bool_] | None = None
    chunked: Chunked | None = None
    truncate_dim: int | None = None


class TextProcessor(IOProcessor[ArrayOutput]):
    """Text or token ids to the result of a task's pooler."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.renderer = Renderer(ctx)
        self.prompts = Prompts(ctx)
        self.spec = ctx.task_spec
        self.per_token = self.spec.per_token
        self.conversations = conversations_of(ctx, self.renderer.images)
        self.messages = text_messages(ctx, self.conversations.template)
        # A prompt that is a message of its own is pooled with the text, as in sentence-transformers.
        self.pools_prompts = ctx.model.prompting.include_prompt or self.per_token or self.messages is not None
        self.task = self.spec.name
        self.output: type[ArrayOutput] = ctx.task_entry.load()
        self.is_step = self.per_token and ctx.pooling_type(self.task) == "STEP"

    def encode(self, call: Call) -> list[Work]:
        """Read and tokenise prompts, all texts at once."""
        return encode_valid(call.items, self.read, self.encode_prompts)

    def decode(self, work: Work) -> ArrayOutput:
        """Return the result of one prompt, as the task's type of output."""
        assert isinstance(work, TextWork)  # noqa: S101  made by ``encode``
        sequence = work.sequences[0]
        return self.result(sequence.results[0], sequence, work)

    def read(self, data: object) -> Prompt:
        """Check one prompt, a conversation written out.

        Raises:
            InvalidInputError: If it cannot be served.
        """
        prompt = parse_prompt(data)
        if prompt.conversation is not None:
            prompt = self.conversations.written(prompt.conversation)
        return self.renderer.check(prompt)

    def encode_prompts(self, prompts: Sequence[tuple[Prompt, Asked]]) -> list[Work]:
        """Tokenise prompts that were read, all at once."""
        prepared = [self._prepared(prompt, asked) for prompt, asked in prompts]
        rendered = iter(
            self.renderer.render([(one[0], one[1].params) for one in prepared if not isinstance(one, Work)])
        )
        return [one if isinstance(one, Work) else self._made(*one, next(rendered)) for one in prepared]

    def prepared(self, prompt: Prompt, asked: Asked) -> tuple[Prompt, Asked]:
        """Return the prompt with what is put before its text, or as the chat template writes it.

        Raises:
            InvalidInputError: If the model does not read it so.
        """
        params = asked.params
        if params.add_special_tokens is False and prompt.text is not None:
            prompt = replace(prompt, add_special_tokens=False)
        if self.messages is not None and prompt.text is not None and not prompt.is_written:
            return self.messages.written(prompt, self.prompts.of(params), input_type(asked.options)), asked
        return self.prompts.before(prompt, params), asked

    def work(self, prompt: Prompt, asked: Asked, rendered: Rendered) -> Work:
        """Return the sequences of a tokenised prompt.

        Raises:
            InvalidInputError: If nothing of it is left to pool.
        """
        first = 0 if self.pools_prompts else self.first_pooled(prompt, rendered, asked)
        return self.work_of(rendered, asked, first)

    def work_of(self, rendered: Rendered, asked: Asked, first: int) -> Work:
        """Return the sequences of a prompt's token ids; one, unless a task's processor makes more.

        Args:
            rendered: The ids.
            asked: What is asked.
            first: The first token that is pooled.
        """
        return TextWork(sequences=(self.sequence(rendered, asked, first),), asked=asked)

    def sequence(self, rendered: Rendered, asked: Asked, first: int) -> PoolingRequest:
        """Return the one sequence of a prompt's token ids."""
        span = (first, len(rendered.input_ids)) if first else None
        return PoolingRequest(
            input_ids=rendered.input_ids,
            representations=(Representation(self.task, asked.params, span),),
            features=rendered.features,
            num_dropped_tokens=rendered.num_dropped_tokens,
        )

    def result(self, array: NDArray[np.float32], sequence: PoolingRequest, work: TextWork) -> ArrayOutput:
        """Return one result as the task's type of output.

        Args:
            array: The pooler's result.
            sequence: The sequence that it is of.
            work: What ``encode`` noted.
        """
        del sequence, work
        return self.output(array)

    def first_pooled(self, prompt: Prompt, rendered: Rendered, asked: Asked) -> int:
        """Return the first token of a text that is pooled: 0, or the one after a prompt that is left out.

        The special tokens before the prompt are left out with it, as in sentence-transformers.

        Raises:
            InvalidInputError: If nothing is left.
        """
        if self.pools_prompts or prompt.text is None:
            return 0
        first = self.prompts.num_tokens(asked.params, special=prompt.add_special_tokens)
        if first == 0:
            return 0
        special = self.prompts.special_ids
        ids: list[int] = rendered.input_ids.tolist()
        if asked.params.truncation_side == "left":
            leading = next((place for place, token in enumerate(ids) if token not in special), len(ids))
            first = max(first - rendered.num_dropped_tokens, leading)
        first = min(first, len(ids) - (ids[-1] in special))
        if first >= min(len(ids), self.ctx.model.max_model_len):
            message = (
                f"the prompt takes {first} of the {len(ids)} tokens, and the model leaves prompts out of the pooling "
                f"(include_prompt): nothing is left of the text. Take a shorter prompt; {self.ctx.model.model!r} reads "
                f"{self.ctx.model.max_model_len} tokens"
            )
            raise InvalidInputError(message, parameter="prompt")
        return first

    def completed(self, asked: Asked, *, supported: Collection[str]) -> Asked:
        """Return what is asked, with the model's config where it specifies nothing.

        Args:
            asked: What is asked.
            supported: The fields of pooling that the task knows; the others must be None.

        Raises:
            InvalidInputError: If another field is given; names it.
        """
        params = asked.params
        self.prompts.check(params)
        self.renderer.lengths.check_truncation(params)
        check_late_chunking(self.ctx, asked)
        config = self.ctx.pooler_config
        legal = {*supported, *(STEP_FIELDS if self.is_step else ())}
        settings: dict[str, object] = {"task": self.task, "on_overflow": self.renderer.lengths.overflow(params)}
        for name in POOLING_FIELDS:
            given = getattr(params, name)
            if given is not None and name not in legal:
                message = (
                    f"Task {self.task} only supports {[name for name in POOLING_FIELDS if name in legal]} parameters, "
                    f"does not support ['{name}'] parameters"
                )
                raise InvalidInputError(message, parameter=name)
            if given is None and name in legal and getattr(config, name) is not None:
                settings[name] = getattr(config, name)
        if params.use_activation is None:
            settings.setdefault("use_activation", True)
        return replace(asked, params=self.prompts.with_adapter(params).model_copy(update=settings))

    def _prepared(self, prompt: Prompt, asked: Asked) -> tuple[Prompt, Asked] | Work:
        try:
            return self.prepared(prompt, asked)
        except InvalidInputError as error:
            return Work(error=error)

    def _made(self, prompt: Prompt, asked: Asked, rendered: Rendered | InvalidInputError) -> Work:
        if isinstance(rendered, InvalidInputError):
            return Work(error=rendered)
        try:
            return self.work(prompt, asked, rendered)
        except InvalidInputError as error:
            return Work(error=error)


def encode_valid(
    items: Sequence[Item], read: Callable[[Any], T], encode: Callable[[list[tuple[T, Asked]]], Sequence[Work]]
) -> list[Work]:
    """Return the works of items, of which those that can be read are encoded at once.

    Args:
        items: The items of a call.
        read: Reads the data of one; it raises InvalidInputError.
        encode: Encodes all that could be read.
    """
    found: list[tuple[T, Asked] | Work] = []
    for data, asked in items:
        try:
            found.append((read(data), asked))
        except InvalidInputError as error:
            found.append(Work(error=error))
    valid = [one for one in found if not isinstance(one, Work)]
    works = iter(encode(valid) if valid else ())
    return [one if isinstance(one, Work) else next(works) for one in found]
