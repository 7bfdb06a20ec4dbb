"""What the IO processors of texts share: one prompt becomes one request, and its result one output."""

from collections.abc import Collection, Sequence

from millpond.context import Context
from millpond.engine.request import PoolingRequest, Representation
from millpond.errors import InvalidInputError
from millpond.inputs import Prompt, parse_prompt
from millpond.io_processor import IOProcessor
from millpond.outputs import ArrayOutput
from millpond.params import PoolingParams
from millpond_io.render import Renderer

STEP_FIELDS = ("step_tag_id", "returned_token_ids")
POOLING_FIELDS = ("use_activation", "dimensions", *STEP_FIELDS)


class TextProcessor(IOProcessor[Prompt, ArrayOutput]):
    """Text or token ids to the result of a task's pooler."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.renderer = Renderer(ctx)
        self.task = ctx.task_spec.name
        self.output: type[ArrayOutput] = ctx.task_entry.load()

    def parse(self, data: object) -> Prompt:
        """Check one prompt; see ``IOProcessor``."""
        return self.renderer.check(parse_prompt(data))

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
        """The result of one prompt, as the task's type of output."""
        return self.output(requests[0].results[0])

    def completed(self, given: PoolingParams | None, *, supported: Collection[str]) -> PoolingParams:
        """What was asked, with the model's config where it says nothing.

        Args:
            given: What was asked.
            supported: The fields of pooling that the task knows; the others must be None.

        Raises:
            InvalidInputError: If another field is given; names it.
        """
        asked = given or PoolingParams()
        config = self.ctx.pooler_config
        legal = {*supported, *(STEP_FIELDS if self._is_step() else ())}
        for name in POOLING_FIELDS:
            if name not in legal and getattr(asked, name) is not None:
                message = (
                    f"Task {self.task} only supports {[name for name in POOLING_FIELDS if name in legal]} parameters, "
                    f"does not support ['{name}'] parameters"
                )
                raise InvalidInputError(message, parameter=name)
        known = {name: getattr(config, name) for name in legal if getattr(asked, name) is None}
        settings = {"use_activation": True, **{name: value for name, value in known.items() if value is not None}}
        if asked.use_activation is not None:
            settings.pop("use_activation")
        return asked.model_copy(update={"task": self.task, **settings})

    def _is_step(self) -> bool:
        return self.ctx.task_spec.per_token and self.ctx.pooling_type(self.task) == "STEP"
