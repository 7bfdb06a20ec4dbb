"""RoutedTexts: embeddings of models with different modules (routes) for queries and documents."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Call, Job
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import PoolingOutput
from millpond_io.retrieval.input_types import INPUT_TYPE, input_type
from millpond_io.text.processor import TextProcessor
from millpond_modeling.pooler_options import RouteOptions, add_options


class RoutedTexts:
    """The IO processors of a model's routes; the input type of a text selects one."""

    def __init__(self, ctx: TaskContext, build: Callable[[TaskContext], TextProcessor]) -> None:
        """Build an IO processor for each route.

        Args:
            ctx: The context of the model, with its routes.
            build: Builds the IO processor of a route.
        """
        self.model = ctx.model.model
        self.names: Mapping[str | None, str] = {text_type: name for text_type, (name, _) in ctx.routes.items()}
        contexts = dict(ctx.routes.values())
        self.processors = {name: build(route_ctx.for_task(ctx.task)) for name, route_ctx in contexts.items()}

    def complete(self, call: Call) -> Call:
        """Complete the parameters with the route of the input type."""
        text_type = input_type(call.options)
        name = self.names.get(text_type, next(iter(self.names.values())))  # ``encode`` reports a missing route
        completed = self.processors[name].complete(_without_type(call))
        # Poolers select the route by the input type, too.
        return replace(completed, params=add_options(completed.params, RouteOptions(text_type)), options=call.options)

    def encode(self, call: Call) -> list[Job]:
        """Validate and tokenize prompts with the modules of their route."""
        try:
            name = self._route(call)
        except InvalidInputError as error:
            return [Job(error=error) for _ in call.prompts]
        jobs = self.processors[name].encode(_without_type(call))
        for job in jobs:
            for sequence in job.sequences:
                sequence.route = name
        return list(jobs)

    def decode(self, job: Job) -> PoolingOutput:
        """Return the result of one prompt."""
        return self.processors[job.sequences[0].route].decode(job)

    def _route(self, call: Call) -> str:
        text_type = input_type(call.options)
        if text_type in self.names:
            return self.names[text_type]
        available = " or ".join(f"input_type={name!r}" for name in self.names if name is not None)
        message = (
            f"{self.model!r} has no route for input_type={text_type!r}: it has different modules for queries and "
            f"documents. Pass {available}"
        )
        raise InvalidInputError(message, parameter=INPUT_TYPE)


def _without_type(call: Call) -> Call:
    """Return the parameters for the IO processor of a route, which has no input types."""
    if input_type(call.options) is None:
        return call
    return replace(call, options=call.options.model_copy(update={INPUT_TYPE: None}))
