"""RoutedTexts: embeddings of models with different modules (routes) for queries and documents."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Asked, Call, Item, Job
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import PoolingOutput
from millpond_io.retrieval.late_interaction import INPUT_TYPE, input_type
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

    def complete(self, asked: Asked) -> Asked:
        """Complete the parameters with the route of the input type."""
        text_type = input_type(asked.options)
        name = self.names.get(text_type, next(iter(self.names.values())))  # ``encode`` reports a missing route
        completed = self.processors[name].complete(_without_type(asked))
        # Poolers select the route by the input type, too.
        return replace(completed, params=add_options(completed.params, RouteOptions(text_type)), options=asked.options)

    def encode(self, call: Call) -> list[Job]:
        """Validate and tokenize prompts, all texts of a route at once."""
        jobs: list[Job | None] = [None] * len(call.items)
        indices_by_route: dict[str, list[int]] = {}
        for index, item in enumerate(call.items):
            try:
                indices_by_route.setdefault(self._route(item.asked), []).append(index)
            except InvalidInputError as error:
                jobs[index] = Job(error=error)
        for name, indices in indices_by_route.items():
            items = [Item(call.items[index].data, _without_type(call.items[index].asked)) for index in indices]
            for index, job in zip(indices, self.processors[name].encode(Call(items, call.shared)), strict=True):
                for sequence in job.sequences:
                    sequence.route = name
                jobs[index] = job
        return [job for job in jobs if job is not None]

    def decode(self, job: Job) -> PoolingOutput:
        """Return the result of one prompt."""
        return self.processors[job.sequences[0].route].decode(job)

    def _route(self, asked: Asked) -> str:
        text_type = input_type(asked.options)
        if text_type in self.names:
            return self.names[text_type]
        available = " or ".join(f"input_type={name!r}" for name in self.names if name is not None)
        message = (
            f"{self.model!r} has no route for input_type={text_type!r}: it has different modules for queries and "
            f"documents. Pass {available}"
        )
        raise InvalidInputError(message, parameter=INPUT_TYPE)


def _without_type(asked: Asked) -> Asked:
    """Return the parameters for the IO processor of a route, which has no input types."""
    if input_type(asked.options) is None:
        return asked
    return replace(asked, options=asked.options.model_copy(update={INPUT_TYPE: None}))
