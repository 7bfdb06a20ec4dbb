"""Registers the task and its IO processor."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import IOProcessorSpec, TaskSpec

MILLPOND_API = 1


@hookimpl
def register_tasks() -> Iterator[TaskSpec]:
    """Register the task, which is derived from vectors of tokens."""
    yield TaskSpec(
        name="keywords",
        target="millpond_keywords.task:Keywords",
        summary="the words that are most similar to the whole text",
        io_processor="keywords",
        derived_from=("token_embed",),
        options="millpond_keywords.task:KeywordsOptions",
        method="keywords",
        output="millpond_keywords.task:KeywordsRequestOutput",
    )


@hookimpl
def register_io_processors() -> Iterator[IOProcessorSpec]:
    """Register the IO processor."""
    yield IOProcessorSpec(
        name="keywords",
        target="millpond_keywords.processor:KeywordsProcessor",
        summary="texts in, words with scores out",
        tasks=("keywords",),
    )
