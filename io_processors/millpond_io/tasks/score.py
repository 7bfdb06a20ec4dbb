"""IO processor of the task ``score``: queries and documents to scores, with the scorer for the model's tasks."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from millpond.context import TaskContext
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.types.errors import InvalidInputError
from millpond.types.outputs import ScoringOutput
from millpond.types.prompts import PairItem, ScoreCall
from millpond_io.media.prefetch import prefetch_images
from millpond_io.scoring.bi_encoder import BiEncoder
from millpond_io.scoring.cross_encoder import CrossEncoder
from millpond_io.scoring.score_inputs import ScoreInputs

ONE_LABEL = "Scoring API is only enabled for num_labels == 1."
NO_SCORES = "This model does not support the Scoring API."


class ScoreProcessor(IOProcessor[ScoringOutput]):
    """Converts queries and documents to scores.

    A cross-encoder reads each pair as one sequence. With an embedding model, the score is the cosine of the two
    vectors, or the similarity function that its checkpoint names; with a token embedding model, it is MaxSim.
    """

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        task = scored_by(ctx)
        if task is None:
            raise InvalidInputError(self.refusal(ctx) or NO_SCORES, parameter="pooling_task")
        self.derived_from = task
        self.scorer: CrossEncoder | BiEncoder = CrossEncoder(ctx) if task == "classify" else BiEncoder(ctx, task)
        reads_mixed = ctx.model.multimodal.image_reader is not None  # required for pairs with images
        reads_images = "image" in ctx.model.multimodal.modalities and (reads_mixed or task != "classify")
        self.reads_images = reads_images
        separator = "" if reads_mixed and task == "classify" else "\n"
        self.inputs = ScoreInputs(ctx.model.architecture, reads_images=reads_images, separator=separator)

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Return why the model does not serve the task; None if it does."""
        if scored_by(ctx) is not None:
            return None
        return (
            f"{ONE_LABEL} This model has {ctx.model.classification.num_labels}."
            if "classify" in ctx.tasks
            else NO_SCORES
        )

    def items(self, prompts: object) -> Sequence[object]:
        """Return the pairs of a call."""
        if not isinstance(prompts, ScoreCall):
            message = "a score needs a query and a document: call LLM.score(queries, documents)"
            raise InvalidInputError(message, parameter="prompts")
        queries, documents = self.inputs.read(prompts.queries, prompts.documents)
        left = queries * len(documents) if len(queries) == 1 else queries
        return [self.scorer.pair(query, document) for query, document in zip(left, documents, strict=True)]

    def complete(self, call: Call) -> Call:
        """Validate the parameters, and complete them for the task that scores are computed from."""
        if call.params.late_chunking_params is not None:
            message = "Late chunking does not support late-interaction scoring"
            raise InvalidInputError(message, parameter="late_chunking_params")
        longest = self.ctx.model.max_model_len
        for name in ("max_tokens_per_query", "max_tokens_per_doc"):
            count = getattr(call.options, name)
            if count >= longest:
                message = f"{name} ({count}) must be less than max_model_len ({longest})."
                raise InvalidInputError(message, parameter=name)
        return self.scorer.complete(replace(call, params=call.params.model_copy(update={"task": None})))

    def encode(self, call: Call) -> list[Job]:
        """Tokenize all pairs at once."""
        for data in call.prompts:
            if not isinstance(data, PairItem) or data.query is None or data.document is None:
                message = f"expected a query and a document; got {type(data).__name__}"
                raise InvalidInputError(message, parameter="data_1")
        with prefetch_images(call.prompts) if self.reads_images else nullcontext():
            return self.scorer.encode(call)

    def decode(self, job: Job) -> ScoringOutput:
        """Return the score of a pair."""
        (output,) = self.scorer.decode_many([job])
        return output

    def decode_many(self, jobs: Sequence[Job]) -> list[ScoringOutput]:
        """Return the scores of pairs, computed together."""
        return self.scorer.decode_many(jobs)


def scored_by(ctx: TaskContext) -> str | None:
    """Return the task of the model that scores are computed from; None if it has none."""
    possible = {"classify": ctx.model.classification.num_labels == 1, "embed": True, "token_embed": True}
    served = [task for task, serves in possible.items() if serves and task in ctx.tasks]
    chosen = ctx.pooler_config.task
    return chosen if chosen in served else next(iter(served), None)
