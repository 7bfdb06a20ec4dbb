"""A task of a plugin that reads objects: documents with a title, to the first numbers of their vectors."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from millpond import IOProcessor
from millpond.pipeline.io_processor import Call, Job
from millpond.plugin.specs import IOProcessorSpec, TaskSpec


class TitledText(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str
    title: str = ""
    weight: Annotated[float, Field(gt=0)] = 1.0


@dataclass(frozen=True)
class Sketch:
    """The result of a document."""

    first: list[float]
    weight: float


@dataclass(eq=False, kw_only=True, slots=True)
class SketchJob(Job):
    text: Job
    weight: float


class Sketches(IOProcessor):
    """Embeds the title and the text of each document."""

    def __init__(self, ctx):
        super().__init__(ctx)
        self.embed = ctx.io_processor("io_processors/embed", task="embed")

    def encode(self, call):
        texts = [f"{document.title} {document.text}" for document in call.prompts]
        jobs = self.embed.encode(self.embed.complete(Call(texts, call.params)))
        return [
            SketchJob(sequences=job.sequences, error=job.error, text=job, weight=document.weight)
            for job, document in zip(jobs, call.prompts, strict=True)
        ]

    def decode(self, job):
        return Sketch(self.embed.decode(job.text).array[:4].tolist(), job.weight)


RECORDS = (
    TaskSpec(
        name="sketch", target=Sketch, io_processor="sketch", derived_from=("embed",), item=TitledText, method="sketch"
    ),
    IOProcessorSpec(name="sketch", target=Sketches, tasks=("sketch",)),
)
