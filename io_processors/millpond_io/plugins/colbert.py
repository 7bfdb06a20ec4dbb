"""The IO processor ``colbert_query_plugin``: queries or documents to vectors of tokens, as vLLM's plugin has it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from reprlib import repr as brief

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.pipeline.io_processor import IOProcessor
from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams
from millpond_io.plugins.data import Answer, prompts_of, read_fields, typed, usage_of
from millpond_io.retrieval.late_interaction import INPUT_TYPE, INPUT_TYPES, ends_of, readers

FIELDS = ("input", "input_type", "add_special_tokens")
WHOLE = {"task": None, "truncate_prompt_tokens": -1}  # what is too long is cut, as in vLLM's plugin
NO_SIDES = (
    "colbert_query_plugin needs a model of token vectors whose files say how queries and documents are read, as "
    "ColBERT's do."
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Texts, and whether they are queries or documents."""

    prompts: list[str | list[int]]
    input_type: str


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
        return None if "token_embed" in ctx.tasks and ctx.model.late_interaction is not None else NO_SIDES

    def parse(self, data: object) -> Asked:
        """Check the fields."""
        fields = read_fields(data, FIELDS)
        kind = fields.get(INPUT_TYPE)
        if not isinstance(kind, str) or kind not in INPUT_TYPES:
            message = f"data: {INPUT_TYPE} must be {' or '.join(map(repr, INPUT_TYPES))}; got {brief(kind)}"
            raise InvalidInputError(message, parameter="data")
        if not typed(fields, "add_special_tokens", bool, default=True):
            message = "data: add_special_tokens=false is not supported: markers follow the special tokens"
            raise InvalidInputError(message, parameter="data")
        return Asked(prompts=prompts_of(fields), input_type=kind)

    def pre_process(self, data: Asked, params: PoolingParams) -> list[PoolingRequest]:
        """One request a text."""
        extra = {INPUT_TYPE: data.input_type}
        own = self.embed.pooling_params(params.model_copy(update={**WHOLE, "extra_kwargs": extra}))
        prompts = [prompt if isinstance(prompt, str) else self._with_ends(prompt, data) for prompt in data.prompts]
        made = self.embed.pre_process_many([(self.embed.parse(prompt), own) for prompt in prompts])
        requests: list[PoolingRequest] = []
        for place, each in enumerate(made):
            if isinstance(each, InvalidInputError):
                raise InvalidInputError(f"data: input {place}: {each.message}", parameter="data") from each
            requests += each
        return requests

    def _with_ends(self, ids: list[int], data: Asked) -> list[int]:
        """Return the token ids of a text with the special tokens around them, cut to what is read of a text."""
        tokenizer = self.ctx.tokenizer
        if tokenizer is None:
            return ids
        first, last = ends_of(tokenizer)
        room = readers(replace(self.ctx, task="token_embed"))[data.input_type].room - len(first) - len(last)
        return [*first, *ids[:room], *last]

    def post_process(self, requests: Sequence[PoolingRequest]) -> Answer:
        """The vectors of each text, and how many tokens were read."""
        kind = (requests[0].representations[0].params.extra_kwargs or {})[INPUT_TYPE]
        outputs = [self.embed.post_process([request]) for request in requests]
        data = [
            Answer(index=place, object="embedding", input_type=kind, embedding=output.array.tolist())
            for place, output in enumerate(outputs)
        ]
        return Answer(data=data, usage=usage_of(requests))
