"""The IO processor of the task ``score``: queries and documents to scores, by what the model can do."""

from collections.abc import Sequence
from typing import Any

from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest
from millpond.pipeline.io_processor import IOProcessor
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ArrayOutput, PoolingRequestOutput
from millpond.types.params import PoolingParams
from millpond.types.prompts import ScoreCall
from millpond_io.scoring.cross_encoder import CrossEncoder
from millpond_io.scoring.sides import Sides
from millpond_io.scoring.towers import Towers

ONE_LABEL = "Scoring API is only enabled for num_labels == 1."
NO_SCORES = "This model does not support the Scoring API."


class ScoreProcessor(IOProcessor[ArrayOutput]):
    """Queries and documents to scores.

    A cross-encoder reads each pair at once; a model of embeddings gives the cosine of the two vectors, or the
    similarity that its checkpoint names, and one of embeddings of tokens MaxSim.
    """

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        task = scored_by(ctx)
        if task is None:
            raise InvalidInputError(self.refusal(ctx) or NO_SCORES, parameter="pooling_task")
        self.derived_from = task
        self.scorer: CrossEncoder | Towers = CrossEncoder(ctx) if task == "classify" else Towers(ctx, task)
        together = ctx.model.image_reader is not None  # reads images beside texts, as those who read pairs must
        sees = "image" in ctx.model.modalities and (together or task != "classify")
        self.sides = Sides(ctx.model.architecture, sees=sees)

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Why the model gives no scores; None if it does."""
        if scored_by(ctx) is not None:
            return None
        return f"{ONE_LABEL} This model has {ctx.model.num_labels}." if "classify" in ctx.tasks else NO_SCORES

    def split(self, call: object) -> list[object]:
        """What is computed for a call: its pairs, or its texts one by one."""
        if not isinstance(call, ScoreCall):
            message = "a score needs a query and a document: call LLM.score(queries, documents)"
            raise InvalidInputError(message, parameter="prompts")
        return self.scorer.split(*self.sides.read(call.queries, call.documents))

    def join(
        self, items: Sequence[object], outputs: Sequence[PoolingRequestOutput[Any]]
    ) -> list[PoolingRequestOutput[Any]]:
        """The outputs of the pairs."""
        return self.scorer.join(items, outputs)

    def parse(self, data: object) -> Any:
        """Check one item; see ``IOProcessor``."""
        return self.scorer.parse(data)

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """What was asked, completed for the task that the scores are made of."""
        asked = given or PoolingParams()
        if asked.late_chunking_params is not None:
            message = "Late chunking does not support late-interaction scoring"
            raise InvalidInputError(message, parameter="late_chunking_params")
        return self.scorer.pooling_params(asked.model_copy(update={"task": None}))

    def pre_process(self, data: Any, params: PoolingParams) -> list[PoolingRequest]:
        """The requests of one item."""
        (made,) = self.pre_process_many([(data, params)])
        if isinstance(made, InvalidInputError):
            raise made
        return made

    def pre_process_many(
        self, items: Sequence[tuple[Any, PoolingParams]]
    ) -> list[list[PoolingRequest] | InvalidInputError]:
        """The requests of many items, all tokenised at once."""
        return self.scorer.pre_process_many(items)

    def post_process(self, requests: Sequence[PoolingRequest]) -> ArrayOutput:
        """The score of a pair, or what the model makes of one of its texts."""
        return self.scorer.post_process(requests)


def scored_by(ctx: TaskContext) -> str | None:
    """The task of the model that scores are made of; None if there is none."""
    possible = {"classify": ctx.model.num_labels == 1, "embed": True, "token_embed": True}
    served = [task for task, serves in possible.items() if serves and task in ctx.tasks]
    chosen = ctx.pooler_config.task
    return chosen if chosen in served else next(iter(served), None)
