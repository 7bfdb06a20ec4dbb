"""What the IO processors of texts share: a prompt becomes requests, by default one, and its result one output."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import IOProcessor
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ArrayOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import Prompt, parse_prompt
from millpond_io.chat.images import conversations_of
from millpond_io.chat.text_messages import text_messages
from millpond_io.chunking.late import check_late_chunking
from millpond_io.retrieval.late_interaction import input_type
from millpond_io.text.named_prompts import Prompts
from millpond_io.text.render import Rendered, Renderer

STEP_FIELDS = ("step_tag_id", "returned_token_ids")
POOLING_FIELDS = ("use_activation", "dimensions", *STEP_FIELDS)


class TextProcessor(IOProcessor[ArrayOutput]):
    """Text or token ids to the result of a task's pooler."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.renderer = Renderer(ctx)
        self.prompts = Prompts(ctx)
        self.per_token = ctx.task_spec.per_token
        self.pools_prompts = ctx.model.include_prompt or self.per_token
        self.conversations = conversations_of(ctx, self.renderer.images)
        self.messages = text_messages(ctx, self.conversations.template)
        # A prompt that is a message of its own is pooled with the text, as in sentence-transformers.
        self.pools_prompts = self.pools_prompts or self.messages is not None
        self.task = ctx.task_spec.name
        self.output: type[ArrayOutput] = ctx.task_entry.load()

    def parse(self, data: object) -> Prompt:
        """Check one prompt, a conversation written out; see ``IOProcessor``."""
        prompt = parse_prompt(data)
        if prompt.conversation is not None:
            prompt = self.conversations.written(prompt.conversation)
        return self.renderer.check(prompt)

    def pre_process(self, data: Prompt, params: PoolingParams) -> list[PoolingRequest]:
        """The requests of one prompt."""
        (made,) = self.pre_process_many([(data, params)])
        if isinstance(made, InvalidInputError):
            raise made
        return made

    def pre_process_many(
        self, items: Sequence[tuple[Prompt, PoolingParams]]
    ) -> list[list[PoolingRequest] | InvalidInputError]:
        """The requests of each prompt, all tokenised at once."""
        asked = [self._with_prompt(item) for item in items]
        rendered = iter(self.renderer.render([item for item in asked if not isinstance(item, InvalidInputError)]))
        return [item if isinstance(item, InvalidInputError) else self._made(item, next(rendered)) for item in asked]

    def _with_prompt(self, item: tuple[Prompt, PoolingParams]) -> tuple[Prompt, PoolingParams] | InvalidInputError:
        """The item as it is where nothing is put before its text: most are, and new tuples would cost time."""
        data, params = item
        if params.add_special_tokens is False and data.text is not None:
            data = replace(data, add_special_tokens=False)
            item = data, params
        try:
            if self.messages is not None and data.text is not None and not data.is_written:
                return self.messages.written(data, self.prompts.of(params), input_type(params)), params
            prompt = self.prompts.before(data, params)
        except InvalidInputError as error:
            return error
        return item if prompt is data else (prompt, params)

    def _made(
        self, item: tuple[Prompt, PoolingParams], rendered: Rendered | InvalidInputError
    ) -> list[PoolingRequest] | InvalidInputError:
        if isinstance(rendered, InvalidInputError):
            return rendered
        prompt, params = item
        try:
            first = 0 if self.pools_prompts else self.first_pooled(prompt, rendered, params)
            return self.requests(rendered, params, first)
        except InvalidInputError as error:
            return error

    def requests(self, rendered: Rendered, params: PoolingParams, first: int) -> list[PoolingRequest]:
        """The requests of a prompt's token ids; one, unless a task's processor makes more.

        Args:
            rendered: The ids.
            params: What is asked.
            first: The first token that is pooled.
        """
        span = (first, len(rendered.input_ids)) if first else None
        return [
            PoolingRequest(
                input_ids=rendered.input_ids,
                representations=(Representation(self.task, params, span),),
                features=rendered.features,
                num_dropped_tokens=rendered.num_dropped_tokens,
            )
        ]

    def first_pooled(self, prompt: Prompt, rendered: Rendered, params: PoolingParams) -> int:
        """The first token of a text that is pooled: 0, or where the checkpoint leaves its prompts out, the one behind.

        The special tokens before the prompt are left out with it, as in sentence-transformers.

        Raises:
            InvalidInputError: If nothing is left.
        """
        if self.pools_prompts or prompt.text is None:
            return 0
        first = self.prompts.num_tokens(params, special=prompt.add_special_tokens)
        if first == 0:
            return 0
        special = self.prompts.special_ids
        ids: list[int] = rendered.input_ids.tolist()
        if params.truncation_side == "left":
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

    def post_process(self, requests: Sequence[PoolingRequest]) -> ArrayOutput:
        """The result of one prompt, as the task's type of output."""
        request = requests[0]
        return self.result(request.results[0], request.representations[0], request)

    def result(self, array: NDArray[np.float32], wanted: Representation, request: PoolingRequest) -> ArrayOutput:
        """One result of a request's, as the task's type of output.

        Args:
            array: What the pooler gave.
            wanted: What was wanted of it.
            request: The request.
        """
        del wanted, request
        return self.output(array)

    def completed(self, given: PoolingParams | None, *, supported: Collection[str]) -> PoolingParams:
        """What was asked, with the model's config where it says nothing.

        Args:
            given: What was asked.
            supported: The fields of pooling that the task knows; the others must be None.

        Raises:
            InvalidInputError: If another field is given; names it.
        """
        asked = given or PoolingParams()
        self.prompts.check(asked)
        self.renderer.lengths.check_truncation(asked)
        check_late_chunking(self.ctx, asked)
        config = self.ctx.pooler_config
        legal = {*supported, *(STEP_FIELDS if self._is_step() else ())}
        for name in POOLING_FIELDS:
            if name not in legal and getattr(asked, name) is not None:
                message = (
                    f"Task {self.task} only supports {[name for name in POOLING_FIELDS if name in legal]} parameters, "
                    f"does not support ['{name}'] parameters"
                )
                raise InvalidInputError(message, parameter=name)
        known = {name: getattr(config, name) for name in legal if getattr(asked, name) is None}
        settings = {"use_activation": True, "on_overflow": self.renderer.lengths.overflow(asked)}
        settings |= {name: value for name, value in known.items() if value is not None}
        if asked.use_activation is not None:
            settings.pop("use_activation")
        return self.prompts.with_adapter(asked).model_copy(update={"task": self.task, **settings})

    def _is_step(self) -> bool:
        return self.per_token and self.ctx.pooling_type(self.task) == "STEP"
