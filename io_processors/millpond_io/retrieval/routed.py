"""Embeddings of models whose queries and documents take different routes: each text is read as its route reads it."""

from collections.abc import Callable, Mapping, Sequence

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ArrayOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import Prompt
from millpond_io.retrieval.late_interaction import INPUT_TYPE, input_type
from millpond_io.text.processor import TextProcessor

Made = list[PoolingRequest] | InvalidInputError


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

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """What was asked, completed by the route of its input type."""
        asked = given or PoolingParams()
        kind = input_type(asked)
        extra = {name: value for name, value in (asked.extra_kwargs or {}).items() if name != INPUT_TYPE}
        name = self.names.get(kind, next(iter(self.names.values())))  # a missing one is refused when the route is taken
        completed = self.processors[name].pooling_params(asked.model_copy(update={"extra_kwargs": extra or None}))
        return completed.model_copy(update={"extra_kwargs": {**extra, INPUT_TYPE: kind}})

    def parse(self, data: object) -> Prompt:
        """Check one prompt; token ids may be of any route's vocabulary."""
        errors: list[InvalidInputError] = []
        for processor in self.processors.values():
            try:
                return processor.parse(data)
            except InvalidInputError as error:
                errors.append(error)
        raise errors[0]

    def pre_process_many(self, items: Sequence[tuple[Prompt, PoolingParams]]) -> list[Made]:
        """The requests of each prompt, all texts of a route tokenised at once."""
        made: list[Made | None] = [None] * len(items)
        places: dict[str, list[int]] = {}
        for place, (prompt, params) in enumerate(items):
            try:
                name = self._route(params)
                self.processors[name].renderer.check(prompt)
                places.setdefault(name, []).append(place)
            except InvalidInputError as error:
                made[place] = error
        for name, own in places.items():
            found = self.processors[name].pre_process_many([items[place] for place in own])
            for place, requests in zip(own, found, strict=True):
                for request in requests if isinstance(requests, list) else ():
                    request.route = name
                made[place] = requests
        return [requests for requests in made if requests is not None]

    def post_process(self, requests: Sequence[PoolingRequest]) -> ArrayOutput:
        """The result of one prompt."""
        return self.processors[requests[0].route].post_process(requests)

    def _route(self, params: PoolingParams) -> str:
        kind = input_type(params)
        if kind in self.names:
            return self.names[kind]
        known = " or ".join(f"input_type={name!r}" for name in self.names if name is not None)
        message = (
            f"{self.model!r} has no route for input_type={kind!r}: its queries and documents go through modules of "
            f"their own. Pass {known}"
        )
        raise InvalidInputError(message, parameter=INPUT_TYPE)
