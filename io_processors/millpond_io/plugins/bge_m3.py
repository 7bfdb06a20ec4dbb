"""The IO processor ``bge_m3_sparse_plugin``: vectors and weights of texts, in the form of vLLM's plugin."""

from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.pipeline.io_processor import IOProcessor
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import RepresentationsOutput, SparseEmbeddingOutput
from millpond.types.params import PoolingParams
from millpond_io.plugins.data import Answer, prompts_of, read_fields, typed, usage_of
from millpond_io.tasks.embed_sparse import NO_WEIGHTS, sparse_source
from millpond_io.tasks.represent import WANTED

DENSE, SPARSE = "dense", "sparse"
BOTH = f"{DENSE}&{SPARSE}"
FIELDS = ("input", "embed_task", "return_tokens", "add_special_tokens", "dimensions", "use_activation")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Options of one call, by the names of the fields of its data."""

    prompts: list[str | list[int]]
    embed_task: str
    return_tokens: bool
    add_special_tokens: bool
    dimensions: int | None
    use_activation: bool | None


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

    def parse(self, data: object) -> Asked:
        """Check the fields."""
        fields = read_fields(data, FIELDS)
        task = fields.get("embed_task", BOTH)
        if not isinstance(task, str) or task not in (DENSE, SPARSE, BOTH):
            message = f"data: embed_task must be {DENSE!r}, {SPARSE!r} or {BOTH!r}; got {brief(task)}"
            raise InvalidInputError(message, parameter="data")
        return Asked(
            prompts=prompts_of(fields),
            embed_task=task,
            return_tokens=typed(fields, "return_tokens", bool, default=False),
            add_special_tokens=typed(fields, "add_special_tokens", bool, default=True),
            dimensions=typed(fields, "dimensions", int, default=None),
            use_activation=typed(fields, "use_activation", bool, default=None),
        )

    def pre_process(self, data: Asked, params: PoolingParams) -> list[PoolingRequest]:
        """One request a text, for all that is wanted of it."""
        dense: dict[str, object] = {"task": "embed", "dimensions": data.dimensions}
        sparse: dict[str, object] = {"task": "embed_sparse", "extra_kwargs": {"return_tokens": data.return_tokens}}
        wanted = [
            {**each, "use_activation": data.use_activation}
            for name, each in ((DENSE, dense), (SPARSE, sparse))
            if name in data.embed_task.split("&")
        ]
        asked = params.model_copy(update={"task": None, "extra_kwargs": {WANTED: wanted}})
        own = self.represent.pooling_params(asked)
        prompts = [
            {"prompt": prompt, "add_special_tokens": data.add_special_tokens}
            if isinstance(prompt, str)
            else {"prompt_token_ids": prompt}
            for prompt in data.prompts
        ]
        made = self.represent.pre_process_many([(self.represent.parse(prompt), own) for prompt in prompts])
        requests: list[PoolingRequest] = []
        for place, each in enumerate(made):
            if isinstance(each, InvalidInputError):
                raise InvalidInputError(f"data: input {place}: {each.message}", parameter="data") from each
            requests += each
        requests[0].note = (requests[0].note, data)  # what is asked of all rides on the first
        return requests

    def post_process(self, requests: Sequence[PoolingRequest]) -> Answer:
        """Collect the results of each text, and the number of tokens."""
        note: Any = requests[0].note
        tasks, asked = note
        data = []
        for place, request in enumerate(requests):
            output = self.represent.post_process([_with_note(request, tasks)])
            data.append(Answer(index=place, object=asked.embed_task, **_told(output)))
        return Answer(data=data, usage=usage_of(requests))


def _with_note(request: PoolingRequest, note: object) -> PoolingRequest:
    """The request as it was made: an output may be made of it again, so it stays as it is."""
    return PoolingRequest(
        input_ids=request.input_ids,
        representations=request.representations,
        results=request.results,
        note=note,
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
