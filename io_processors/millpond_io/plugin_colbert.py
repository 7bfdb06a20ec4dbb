"""The IO processor ``colbert_query_plugin``: queries or documents to vectors of tokens, as vLLM's plugin has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any

from millpond.context import Context
from millpond.engine.request import PoolingRequest
from millpond.errors import InvalidInputError
from millpond.io_processor import IOProcessor
from millpond.params import PoolingParams
from millpond_io.late_interaction import INPUT_TYPE, INPUT_TYPES
from millpond_io.plugin_data import read_fields, texts_of, usage_of

FIELDS = ("input", "input_type")
NO_SIDES = (
    "colbert_query_plugin needs a model of token vectors whose files say how queries and documents are read, as "
    "ColBERT's do."
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Texts, and whether they are queries or documents."""

    texts: list[str]
    input_type: str


class ColBertProcessor(IOProcessor[Asked, dict[str, Any]]):
    """``{"input": texts, "input_type": "query"}`` to the vectors of the tokens of each text."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        reason = self.refusal(ctx)
        if reason is not None:
            raise InvalidInputError(reason, parameter="pooling_task")
        task = ctx.registry.tasks.get("token_embed").spec
        self.embed = ctx.io_processor(task.io_processor, task=task.name)

    @classmethod
    def refusal(cls, ctx: Context) -> str | None:
        """Why the model cannot be served; None if it tells queries and documents apart."""
        return None if "token_embed" in ctx.tasks and ctx.model.late_interaction is not None else NO_SIDES

    def parse(self, data: object) -> Asked:
        """Check the fields."""
        fields = read_fields(data, FIELDS)
        kind = fields.get(INPUT_TYPE, "query")
        if not isinstance(kind, str) or kind not in INPUT_TYPES:
            message = f"data: {INPUT_TYPE} must be {' or '.join(map(repr, INPUT_TYPES))}; got {brief(kind)}"
            raise InvalidInputError(message, parameter="data")
        return Asked(texts=texts_of(fields), input_type=kind)

    def pre_process(self, data: Asked, params: PoolingParams) -> list[PoolingRequest]:
        """One request a text."""
        extra = {INPUT_TYPE: data.input_type}
        own = self.embed.pooling_params(params.model_copy(update={"task": None, "extra_kwargs": extra}))
        made = self.embed.pre_process_many([(self.embed.parse(text), own) for text in data.texts])
        requests: list[PoolingRequest] = []
        for place, each in enumerate(made):
            if isinstance(each, InvalidInputError):
                raise InvalidInputError(f"data: input {place}: {each.message}", parameter="data") from each
            requests += each
        return requests

    def post_process(self, requests: Sequence[PoolingRequest]) -> dict[str, Any]:
        """The vectors of each text, and how many tokens were read."""
        kind = (requests[0].representations[0].params.extra_kwargs or {})[INPUT_TYPE]
        outputs = [self.embed.post_process([request]) for request in requests]
        data = [
            {"index": place, "input_type": kind, "embedding": output.array.tolist()}
            for place, output in enumerate(outputs)
        ]
        return {"data": data, "usage": usage_of(requests)}
