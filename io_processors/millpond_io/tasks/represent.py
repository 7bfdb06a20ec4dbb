"""IO processor of the task ``represent``: several results of one prompt from one forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from millpond.context import TaskContext
from millpond.engine.request import Representation
from millpond.pipeline.io_processor import Call, Job
from millpond.pipeline.options import read_call
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import RepresentationsOutput
from millpond.types.params import PoolingParams, validated
from millpond_io.retrieval.input_types import INPUT_TYPE, input_type
from millpond_io.retrieval.late_interaction import QueryMarkers
from millpond_io.tasks.embed_sparse import sparse_source
from millpond_io.text.processor import TextProcessor
from millpond_text.prompt import TextJob

REPRESENTATIONS, SPARSE = "representations", "embed_sparse"
QUERY_DOCUMENT_TASK = "token_embed"  # the only task that distinguishes queries and documents
TaskAndCall: TypeAlias = tuple[str, Call]  # a task, and the completed parameters and options of its result
NO_ROUTES = "Queries and documents of this model take different routes: request one result at a time."


@dataclass(frozen=True, eq=False, slots=True)
class RepresentCall(Call):
    """A call with the parameters of each result.

    Attributes:
        each: The task of each result, with its completed parameters and options.
    """

    each: tuple[TaskAndCall, ...] = ()


class RepresentProcessor(TextProcessor):
    """Converts texts or token ids to results of several tasks, or of one task with several parameters."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.processors: dict[str, TextProcessor] = {}
        for task in (*ctx.task_spec.derived_from, SPARSE):
            entry = ctx.registry.tasks.find(task)
            if entry is None or (task not in ctx.tasks and (task != SPARSE or sparse_source(ctx) is None)):
                continue
            processor = ctx.io_processor(entry.spec.io_processor, task=task)
            if isinstance(processor, TextProcessor):
                self.processors[task] = processor

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Return why the model does not serve the task; None if it does."""
        return NO_ROUTES if ctx.model.retrieval.routes else super().refusal(ctx)

    def complete(self, call: Call) -> Call:
        """Validate and complete the parameters of the call and of each result."""
        requested = call.options.representations
        if not isinstance(requested, list | tuple) or not requested:
            message = f"{REPRESENTATIONS} must be a list of objects such as {{'task': 'embed'}}; got {requested!r}"
            raise InvalidInputError(message, parameter=REPRESENTATIONS)
        side = input_type(call.options)
        if side is not None and self.steps.of_type(QueryMarkers) is None:
            call = replace(
                call,
                params=self._prompted(call.params, side),
                options=call.options.model_copy(update={INPUT_TYPE: None}),
            )
            side = None
        completed = self.completed(call, supported=())
        each = tuple(self._completed_result(item, completed.params.adapter, side) for item in requested)
        return RepresentCall(completed.prompts, completed.params, completed.options, completed.shared, each)

    def _prompted(self, params: PoolingParams, side: str) -> PoolingParams:
        """Return the parameters with the model's prompt for queries or documents.

        Raises:
            InvalidInputError: If it has none, so that queries would be encoded like documents.
        """
        prompted = self.prompts.by_input_type(params, side)
        if prompted is not None:
            return prompted
        if side == "document" and self.ctx.model.retrieval.static_query_weights is not None:
            return params
        message = (
            f"{INPUT_TYPE}={side!r}: {self.ctx.model.model!r} as 'represent' does not distinguish queries and "
            "documents. Models that do have markers for them, such as ColBERT's, or prompts named 'query' and "
            "'document'"
        )
        raise InvalidInputError(message, parameter=INPUT_TYPE)

    def representations(self, call: Call) -> tuple[Representation, ...]:
        """Return the results that the call requests; all are computed from one sequence."""
        assert isinstance(call, RepresentCall)  # noqa: S101  returned by ``complete``
        return tuple(Representation(of_result.params.task or "", of_result.params) for _, of_result in call.each)

    def decode(self, job: Job) -> RepresentationsOutput:  # type: ignore[override]  # several
        """Return the results of one prompt in the requested order."""
        assert isinstance(job, TextJob)  # noqa: S101  returned by ``encode``
        assert isinstance(job.call, RepresentCall)  # noqa: S101  as above
        results = zip(job.call.each, job.sequences[0].results, strict=True)
        return RepresentationsOutput(
            tuple(self.processors[task].finished(array, replace(job, call=call)) for (task, call), array in results)
        )

    def _completed_result(self, item: object, adapter: str | None, side: str | None) -> TaskAndCall:
        """Return the task of a requested result, with its completed parameters and options."""
        if isinstance(item, PoolingParams):
            params = item
        elif isinstance(item, Mapping):
            params = validated(PoolingParams, item, parameter=REPRESENTATIONS)
        else:
            message = f"{REPRESENTATIONS} contains {type(item).__name__}; expected objects such as {{'task': 'embed'}}"
            raise InvalidInputError(message, parameter=REPRESENTATIONS)
        if side is not None and params.task != QUERY_DOCUMENT_TASK:
            message = (
                f"{INPUT_TYPE}={side!r} is for {QUERY_DOCUMENT_TASK!r}; {params.task!r} does not distinguish queries "
                "and documents"
            )
            raise InvalidInputError(message, parameter=INPUT_TYPE)
        processor = self.processors.get(params.task or "")
        if processor is None:
            served = ", ".join(self.processors)
            message = f"{REPRESENTATIONS}: the task {params.task!r} is not served; this model serves: {served}"
            raise InvalidInputError(message, parameter=REPRESENTATIONS)
        options = {} if side is None else {INPUT_TYPE: side}
        call = read_call(processor, params.model_copy(update={"task": None}), options)
        if input_type(call.options) != side:
            message = (
                f"{INPUT_TYPE}={input_type(call.options)!r} must be set for the whole call: all results come from one "
                "forward pass"
            )
            raise InvalidInputError(message, parameter=INPUT_TYPE)
        call = processor.complete(call)
        if call.params.adapter not in (None, adapter):
            message = (
                f"{REPRESENTATIONS}: adapter={call.params.adapter!r} must be set for the whole call: all results come "
                "from one forward pass"
            )
            raise InvalidInputError(message, parameter="adapter")
        return params.task or "", replace(call, params=call.params.model_copy(update={"adapter": adapter}))
