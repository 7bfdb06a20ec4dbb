"""The IO processor of the embedding tasks: text or token ids to one vector, or to one vector a token."""

from collections.abc import Sequence

from millpond.context import Context
from millpond.engine.request import PoolingRequest, Representation
from millpond.errors import InvalidInputError
from millpond.inputs import Prompt, parse_prompt
from millpond.io_processor import IOProcessor
from millpond.outputs import ArrayOutput
from millpond.params import PoolingParams
from millpond_io.render import Renderer


class EmbedProcessor(IOProcessor[Prompt, ArrayOutput]):
    """Text or token ids to vectors: one a prompt or one a token, as the task's pooler makes them."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.renderer = Renderer(ctx)
        self.task = ctx.task_spec.name
        self.output: type[ArrayOutput] = ctx.task_entry.load()

    def parse(self, data: object) -> Prompt:
        """Check one prompt; see ``IOProcessor``."""
        return self.renderer.check(parse_prompt(data))

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """What was asked, completed by the model's config and checked against it."""
        asked = given or PoolingParams()
        config = self.ctx.pooler_config
        for name in ("step_tag_id", "returned_token_ids"):
            if getattr(asked, name) is not None:
                message = (
                    f"Task {self.task} only supports ['use_activation', 'dimensions'] parameters, "
                    f"does not support ['{name}'] parameters"
                )
                raise InvalidInputError(message, parameter=name)
        dimensions = config.dimensions if asked.dimensions is None else asked.dimensions
        self._check_dimensions(dimensions)
        use = config.use_activation if asked.use_activation is None else asked.use_activation
        return asked.model_copy(
            update={"task": self.task, "dimensions": dimensions, "use_activation": True if use is None else use}
        )

    def pre_process(self, data: Prompt, params: PoolingParams) -> list[PoolingRequest]:
        """One request of one prompt."""
        (made,) = self.pre_process_many([(data, params)])
        if isinstance(made, InvalidInputError):
            raise made
        return made

    def pre_process_many(
        self, items: Sequence[tuple[Prompt, PoolingParams]]
    ) -> list[list[PoolingRequest] | InvalidInputError]:
        """One request of each prompt, all tokenised at once."""
        made: list[list[PoolingRequest] | InvalidInputError] = []
        for rendered, (_, params) in zip(self.renderer.render(items), items, strict=True):
            if isinstance(rendered, InvalidInputError):
                made.append(rendered)
                continue
            request = PoolingRequest(
                input_ids=rendered.input_ids,
                representations=(Representation(self.task, params),),
                num_dropped_tokens=rendered.num_dropped_tokens,
            )
            made.append([request])
        return made

    def post_process(self, requests: Sequence[PoolingRequest]) -> ArrayOutput:
        """The vector of one prompt, [dim], or the vectors of its tokens, [num_tokens, dim]."""
        return self.output(requests[0].results[0])

    def _check_dimensions(self, asked: int | None) -> None:
        model, size = self.ctx.model, self.ctx.model.embedding_size
        if asked is None or asked == size:
            return
        if not model.is_matryoshka:
            message = (
                f'Model "{model.model}" does not support matryoshka representation, changing output dimensions will '
                f"lead to poor results. dimensions={asked} was asked for; the model has {size}. If it was trained for "
                "it, say so with hf_overrides={'is_matryoshka': True} or {'matryoshka_dimensions': [...]}"
            )
            raise InvalidInputError(message, parameter="dimensions")
        if size is not None and asked > size:
            message = f"Model '{model.model}' only supports dimensions in range [1, {size}], got {asked}."
            raise InvalidInputError(message, parameter="dimensions")
        trained = model.matryoshka_dimensions
        if trained and asked not in trained:
            message = f"Model '{model.model}' only supports Matryoshka dimensions {list(trained)}, got {asked}."
            raise InvalidInputError(message, parameter="dimensions")
