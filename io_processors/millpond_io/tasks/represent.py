"""The IO processor of the task ``represent``: several results of one text from one forward pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import RepresentationsOutput
from millpond.types.params import PoolingParams, validated
from millpond.types.prompts import Prompt
from millpond_io.retrieval.late_interaction import INPUT_TYPE, Reader, input_type
from millpond_io.tasks.embed import EmbedProcessor
from millpond_io.tasks.embed_sparse import sparse_source
from millpond_io.text.processor import TextProcessor
from millpond_io.text.render import Rendered

WANTED, SPARSE = "representations", "embed_sparse"
SIDED = "token_embed"  # the task for which a text is read as a query or a document
Wanted: TypeAlias = tuple[str, PoolingParams]  # the task that was asked for, and what its own processor makes of it


NO_ROUTES = "Queries and documents of this model take different routes: ask for one result at a time."


@dataclass(frozen=True)
class Note:
    """What is to be known of a request when its results are there.

    Attributes:
        tasks: Those that were asked for.
        kept: Which tokens' vectors are given, [num_tokens], bool; None for all.
    """

    tasks: tuple[str, ...]
    kept: NDArray[np.bool_] | None = None


class RepresentProcessor(TextProcessor):
    """Text or token ids to several results: of other tasks, or of one with other parameters."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.parts: dict[str, TextProcessor] = {}
        for task in (*ctx.task_spec.made_of, SPARSE):
            entry = ctx.registry.tasks.find(task)
            if entry is None or (task not in ctx.tasks and (task != SPARSE or sparse_source(ctx) is None)):
                continue
            processor = ctx.io_processor(entry.spec.io_processor, task=task)
            if isinstance(processor, TextProcessor):
                self.parts[task] = processor
        sided = self.parts.get(SIDED)
        self.readers: Mapping[str, Reader] = sided.readers if isinstance(sided, EmbedProcessor) else {}

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Why the model does not serve the task; None if it does."""
        return NO_ROUTES if ctx.model.routes else super().refusal(ctx)

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """What was asked, and of each result what its own task makes of it."""
        asked = given or PoolingParams()
        wanted = (asked.extra_kwargs or {}).get(WANTED)
        if not isinstance(wanted, list | tuple) or not wanted:
            message = f"{WANTED} must be a list of objects such as {{'task': 'embed'}}; got {wanted!r}"
            raise InvalidInputError(message, parameter=WANTED)
        side = input_type(asked)
        if side is not None and not self.readers:
            asked = self._prompted(asked, side)
            side = None
        completed = self.completed(asked, supported=())
        each = tuple(self._completed(item, completed.adapter, side) for item in wanted)
        return completed.model_copy(update={"extra_kwargs": {WANTED: each, INPUT_TYPE: side}})

    def _prompted(self, asked: PoolingParams, side: str) -> PoolingParams:
        """The parameters with the prompt that the model has for queries, or for documents.

        Raises:
            InvalidInputError: If it has none: a query is read as a document is then.
        """
        if side in self.prompts.named and asked.prompt is None and asked.prompt_name in (None, side):
            return asked.model_copy(update={"prompt_name": side})
        if side == "document" and self.ctx.model.query_table is not None:
            return asked
        message = (
            f"{INPUT_TYPE}={side!r}: {self.ctx.model.model!r} as 'represent' reads queries and documents alike; models "
            "that do not have markers for them, as ColBERT's, or prompts named 'query' and 'document', and neither "
            "prompt nor prompt_name goes with these"
        )
        raise InvalidInputError(message, parameter=INPUT_TYPE)

    def _with_prompt(self, item: tuple[Prompt, PoolingParams]) -> tuple[Prompt, PoolingParams] | InvalidInputError:
        found = super()._with_prompt(item)
        side = input_type(item[1])
        return found if side is None or isinstance(found, InvalidInputError) else self.readers[side].prepared(*found)

    def requests(self, rendered: Rendered, params: PoolingParams, first: int) -> list[PoolingRequest]:
        """One request of a prompt, for all of its results."""
        each: tuple[Wanted, ...] = (params.extra_kwargs or {})[WANTED]  # type: ignore[assignment]  # made above
        side, kept = input_type(params), None
        if side is not None:
            read = self.readers[side].read(rendered)
            rendered, kept = replace(read.rendered, features={**rendered.features, **read.features}), read.kept
        representations = tuple(self._representation(own, rendered, first) for _, own in each)
        return [
            PoolingRequest(
                input_ids=rendered.input_ids,
                representations=representations,
                features=rendered.features,
                num_dropped_tokens=rendered.num_dropped_tokens,
                note=Note(tuple(task for task, _ in each), kept),
            )
        ]

    def post_process(self, requests: Sequence[PoolingRequest]) -> RepresentationsOutput:  # type: ignore[override]  # several
        """The results of one prompt, in the order in which they were asked for."""
        (request,) = requests
        note: Note = request.note  # type: ignore[assignment]  # as ``requests`` left it
        parts = zip(note.tasks, request.results, request.representations, strict=True)
        own = replace(request, note=note.kept)
        return RepresentationsOutput(
            tuple(self.parts[task].result(array, wanted, own) for task, array, wanted in parts)
        )

    def _completed(self, item: object, adapter: str | None, side: str | None) -> Wanted:
        if isinstance(item, PoolingParams):
            asked = item
        elif isinstance(item, Mapping):
            asked = validated(PoolingParams, item, parameter=WANTED)
        else:
            message = f"{WANTED} holds {type(item).__name__}; expected objects such as {{'task': 'embed'}}"
            raise InvalidInputError(message, parameter=WANTED)
        if side is not None and asked.task != SIDED:
            message = f"{INPUT_TYPE}={side!r} is for {SIDED!r}; {asked.task!r} is not read as a query or a document"
            raise InvalidInputError(message, parameter=INPUT_TYPE)
        asked = _with_side(asked, side)
        processor = self.parts.get(asked.task or "")
        if processor is None:
            message = f"{WANTED}: the task {asked.task!r} is not served; this model serves: {', '.join(self.parts)}"
            raise InvalidInputError(message, parameter=WANTED)
        own = processor.pooling_params(asked.model_copy(update={"task": None}))
        if own.adapter not in (None, adapter):
            message = f"{WANTED}: adapter={own.adapter!r} is for the whole call: all of it comes from one forward pass"
            raise InvalidInputError(message, parameter="adapter")
        return asked.task or "", own.model_copy(update={"adapter": adapter})

    def _representation(self, params: PoolingParams, rendered: Rendered, first: int) -> Representation:
        task = params.task or ""
        whole = first == 0 or self.ctx.registry.tasks.get(task).spec.per_token
        return Representation(task, params, None if whole else (first, len(rendered.input_ids)))


def _with_side(asked: PoolingParams, side: str | None) -> PoolingParams:
    """What is asked of one result, with the side that the text is read as: all results are of the same tokens.

    Raises:
        InvalidInputError: If it says another side.
    """
    own = input_type(asked)
    if own not in (None, side):
        message = f"{INPUT_TYPE}={own!r} is for the whole call: all of it comes from one forward pass"
        raise InvalidInputError(message, parameter=INPUT_TYPE)
    return (
        asked
        if side is None
        else asked.model_copy(update={"extra_kwargs": {**(asked.extra_kwargs or {}), INPUT_TYPE: side}})
    )
