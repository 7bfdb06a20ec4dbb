"""Names the task and its IO processor."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import IOProcessorSpec, TaskSpec

MILLPOND_API = 1


@hookimpl
def register_tasks() -> Iterator[TaskSpec]:
    """One task, made of vectors of tokens."""
    yield TaskSpec(
        name="keywords",
        target="millpond_keywords.task:Keywords",
        summary="the words of a text that are closest to all of it",
        io_processor="keywords",
        derived_from=("token_embed",),
        options="millpond_keywords.task:KeywordsOptions",
        method="keywords",
        output="millpond_keywords.task:KeywordsRequestOutput",
        exports=("millpond_keywords.task:Keyword",),
    )


@hookimpl
def register_io_processors() -> Iterator[IOProcessorSpec]:
    """Texts in, words with scores out."""
    yield IOProcessorSpec(
        name="keywords",
        target="millpond_keywords.processor:KeywordsProcessor",
        summary="texts to the words that are closest to all of them",
        tasks=("keywords",),
    )
