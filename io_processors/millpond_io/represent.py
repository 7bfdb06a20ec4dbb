"""The IO processor of the task ``represent``: several results of one text from one forward pass."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from millpond.context import Context
from millpond.engine.request import PoolingRequest, Representation
from millpond.errors import InvalidInputError
from millpond.outputs import RepresentationsOutput
from millpond.params import PoolingParams, validated
from millpond_io.late_interaction import INPUT_TYPE
from millpond_io.render import Rendered
from millpond_io.sparse import sparse_source
from millpond_io.text import TextProcessor

WANTED, SPARSE = "representations", "embed_sparse"
Wanted: TypeAlias = tuple[str, PoolingParams]  # the task that was asked for, and what its own processor makes of it


class RepresentProcessor(TextProcessor):
    """Text or token ids to several results: of other tasks, or of one with other parameters."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.parts: dict[str, TextProcessor] = {}
        for task in (*ctx.task_spec.made_of, SPARSE):
            entry = ctx.registry.tasks.find(task)
            if entry is None or (task not in ctx.tasks and (task != SPARSE or sparse_source(ctx) is None)):
                continue
            processor = ctx.io_processor(entry.spec.io_processor, task=task)
            if isinstance(processor, TextProcessor):
                self.parts[task] = processor

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """What was asked, and of each result what its own task makes of it."""
        asked = given or PoolingParams()
        wanted = (asked.extra_kwargs or {}).get(WANTED)
        if not isinstance(wanted, list | tuple) or not wanted:
            message = f"{WANTED} must be a list of objects such as {{'task': 'embed'}}; got {wanted!r}"
            raise InvalidInputError(message, parameter=WANTED)
        _refuse_side(asked)
        completed = self.completed(asked, supported=())
        each = tuple(self._completed(item, completed.adapter) for item in wanted)
        return completed.model_copy(update={"extra_kwargs": {WANTED: each}})

    def requests(self, rendered: Rendered, params: PoolingParams, first: int) -> list[PoolingRequest]:
        """One request of a prompt, for all of its results."""
        each: tuple[Wanted, ...] = (params.extra_kwargs or {})[WANTED]  # type: ignore[assignment]  # made above
        representations = tuple(self._representation(own, rendered, first) for _, own in each)
        return [
            PoolingRequest(
                input_ids=rendered.input_ids,
                representations=representations,
                features=rendered.features,
                num_dropped_tokens=rendered.num_dropped_tokens,
                note=tuple(task for task, _ in each),
            )
        ]

    def post_process(self, requests: Sequence[PoolingRequest]) -> RepresentationsOutput:  # type: ignore[override]  # several
        """The results of one prompt, in the order in which they were asked for."""
        (request,) = requests
        tasks: tuple[str, ...] = request.note  # type: ignore[assignment]  # as ``requests`` left it
        parts = zip(tasks, request.results, request.representations, strict=True)
        return RepresentationsOutput(
            tuple(self.parts[task].result(array, wanted, request) for task, array, wanted in parts)
        )

    def _completed(self, item: object, adapter: str | None) -> Wanted:
        if isinstance(item, PoolingParams):
            asked = item
        elif isinstance(item, Mapping):
            asked = validated(PoolingParams, item, parameter=WANTED)
        else:
            message = f"{WANTED} holds {type(item).__name__}; expected objects such as {{'task': 'embed'}}"
            raise InvalidInputError(message, parameter=WANTED)
        _refuse_side(asked)
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


def _refuse_side(asked: PoolingParams) -> None:
    """Refuse a side: a query is read by other tokens than a document, and all results are of the same ones.

    Raises:
        InvalidInputError: If one is said.
    """
    side = (asked.extra_kwargs or {}).get(INPUT_TYPE)
    if side is not None:
        message = (
            f"{INPUT_TYPE}={side!r}: 'represent' reads texts as they are; 'token_embed' and 'embed_sparse' alone read "
            "them as a query or a document"
        )
        raise InvalidInputError(message, parameter=INPUT_TYPE)
