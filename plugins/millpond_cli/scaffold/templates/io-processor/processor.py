"""The IO processor addon_name: several texts in, the mean of their vectors out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from millpond import EmbeddingOutput, IOProcessor
from millpond.context import TaskContext
from millpond.pipeline.io_processor import Call, Job
from millpond.types.errors import InvalidInputError
from numpy.typing import NDArray


@dataclass(eq=False, kw_only=True, slots=True)
class AddonNameJob(Job):
    """The sequences of one item.

    Attributes:
        texts: The job of each text.
    """

    texts: Sequence[Job]


class AddonNameProcessor(IOProcessor[NDArray[np.float32]]):
    """Maps ``{"texts": [...]}`` to the mean of the texts' vectors, [hidden_size]."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.embed: IOProcessor[EmbeddingOutput] = ctx.io_processor("io_processors/embed", task="embed")

    def encode(self, call: Call) -> list[Job]:
        """Return the job for each item of a call."""
        return [self._job(data, call) for data in call.prompts]

    def decode(self, job: Job) -> NDArray[np.float32]:
        """Return the mean of the vectors of an item."""
        assert isinstance(job, AddonNameJob)
        return np.mean([self.embed.decode(text).array for text in job.texts], axis=0)

    def _job(self, data: object, call: Call) -> Job:
        if not isinstance(data, dict) or not isinstance(data.get("texts"), list) or not data["texts"]:
            return Job(error=InvalidInputError('expected {"texts": [...]} with at least one text', parameter="data"))
        texts = self.embed.encode(self.embed.complete(Call(data["texts"], call.params)))
        error = next((text.error for text in texts if text.error is not None), None)
        if error is not None:
            return Job(error=error)
        return AddonNameJob(sequences=tuple(it for text in texts for it in text.sequences), texts=texts)
