"""The IO processor of the task addon_name."""

from dataclasses import dataclass

import numpy as np
from addon_package.task import AddonName, AddonNameItem, AddonNameOptions
from millpond import EmbeddingOutput, IOProcessor
from millpond.context import TaskContext
from millpond.pipeline.io_processor import Call, Job
from millpond.types.errors import InvalidInputError


@dataclass(eq=False, kw_only=True, slots=True)
class AddonNameJob(Job):
    """The sequences of one document.

    Attributes:
        text: The job of the task embed.
        options: The options of the call.
    """

    text: Job
    options: AddonNameOptions


class AddonNameProcessor(IOProcessor[AddonName]):
    """Maps a document to the signs of the first dimensions of its vector."""

    def __init__(self, ctx: TaskContext) -> None:
        super().__init__(ctx)
        self.embed: IOProcessor[EmbeddingOutput] = ctx.io_processor("io_processors/embed", task="embed")

    def encode(self, call: Call) -> list[Job]:
        """Return the job for each item of a call, which the pipeline has validated."""
        return [self._job(item, call) for item in call.prompts]

    def decode(self, job: Job) -> AddonName:
        """Return the bits of a document."""
        assert isinstance(job, AddonNameJob)
        vector = self.embed.decode(job.text).array
        return AddonName(np.packbits(vector[: job.options.bits] > 0).tobytes().hex())

    def _job(self, item: AddonNameItem, call: Call) -> Job:
        options = call.options
        size = self.ctx.model.embedding_size
        if size is not None and options.bits > size:
            message = f"bits: {options.bits} requested, and the vectors of this model have {size} dimensions"
            return Job(error=InvalidInputError(message, parameter="bits"))
        (text,) = self.embed.encode(self.embed.complete(Call([f"{item.title} {item.text}".strip()], call.params)))
        if text.error is not None:
            return text
        return AddonNameJob(sequences=text.sequences, text=text, options=options)
