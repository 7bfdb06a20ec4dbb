"""Embeddings of models whose queries and documents take different routes: each text is read as its route reads it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Asked, Call, Item, Work
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ArrayOutput
from millpond.types.pooler_options import RouteOptions, add_options
from millpond_io.retrieval.late_interaction import INPUT_TYPE, input_type
from millpond_io.text.processor import TextProcessor


class RoutedTexts:
    """The IO processors of a model's routes, of which the input type of a text chooses one."""

    def __init__(self, ctx: TaskContext, build: Callable[[TaskContext], TextProcessor]) -> None:
        """Build an IO processor for each route.

        Args:
            ctx: The context of the model, with its routes.
            build: Builds the IO processor of a route.
        """
        self.model = ctx.model.model
        self.names: Mapping[str | None, str] = {kind: name for kind, (name, _) in ctx.routes.items()}
        contexts = dict(ctx.routes.values())
        self.processors = {name: build(own.for_task(ctx.task)) for name, own in contexts.items()}

    def complete(self, asked: Asked) -> Asked:
        """Complete what is asked by the route of its input type."""
        kind = input_type(asked.options)
        name = self.names.get(kind, next(iter(self.names.values())))  # a missing one is refused when the route is taken
        completed = self.processors[name].complete(_without_type(asked))
        return replace(completed, params=add_options(completed.params, RouteOptions(kind)), options=asked.options)

    def encode(self, call: Call) -> list[Work]:
        """Read and tokenise prompts, all texts of a route at once."""
        works: list[Work | None] = [None] * len(call.items)
        places: dict[str, list[int]] = {}
        for place, item in enumerate(call.items):
            try:
                places.setdefault(self._route(item.asked), []).append(place)
            except InvalidInputError as error:
                works[place] = Work(error=error)
        for name, own in places.items():
            items = [Item(call.items[place].data, _without_type(call.items[place].asked)) for place in own]
            for place, work in zip(own, self.processors[name].encode(Call(items, call.shared)), strict=True):
                for sequence in work.sequences:
                    sequence.route = name
                works[place] = work
        return [work for work in works if work is not None]

    def decode(self, work: Work) -> ArrayOutput:
        """Return the result of one prompt."""
        return self.processors[work.sequences[0].route].decode(work)

    def _route(self, asked: Asked) -> str:
        kind = input_type(asked.options)
        if kind in self.names:
            return self.names[kind]
        known = " or ".join(f"input_type={name!r}" for name in self.names if name is not None)
        message = (
            f"{self.model!r} has no route for input_type={kind!r}: its queries and documents go through modules of "
            f"their own. Pass {known}"
        )
        raise InvalidInputError(message, parameter=INPUT_TYPE)


def _without_type(asked: Asked) -> Asked:
    """What is asked of the IO processor of a route, which reads all texts alike."""
    if input_type(asked.options) is None:
        return asked
    return replace(asked, options=asked.options.model_copy(update={INPUT_TYPE: None}))
