"""Registers the checkpoint format, the model, the task and its IO processor."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ArchitectureSpec, CheckpointFormatSpec, IOProcessorSpec, ModelExtras, TaskSpec

MILLPOND_API = 1


@hookimpl
def register_checkpoint_formats() -> Iterator[CheckpointFormatSpec]:
    """Register the files of the package gliner."""
    yield CheckpointFormatSpec(
        name="gliner",
        target="millpond_gliner.format:read_gliner",
        summary="GLiNER: gliner_config.json",
        files=("gliner_config.json",),
        priority=60,
    )


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """Register the model."""
    yield ArchitectureSpec(
        name="GlinerSpanModel",
        target="millpond_gliner.model:GlinerSpanModel",
        summary="spans scored by labels of the request, on DeBERTa (Zaratiana et al., 2023)",
        tasks=("gliner",),
        extras=ModelExtras(tiny="millpond_gliner.tiny:write_tiny"),
    )


@hookimpl
def register_tasks() -> Iterator[TaskSpec]:
    """Register the task; ``LLM.find_entities`` calls it."""
    yield TaskSpec(
        name="gliner",
        target="millpond_gliner.task:FoundEntities",
        summary="the entities of a text, of types that the request names",
        io_processor="gliner",
        options="millpond_gliner.task:GlinerOptions",
        method="find_entities",
    )


@hookimpl
def register_io_processors() -> Iterator[IOProcessorSpec]:
    """Register the IO processor of the task."""
    yield IOProcessorSpec(
        name="gliner",
        target="millpond_gliner.processor:GlinerProcessor",
        summary="texts in, entities with labels and scores out",
        tasks=("gliner",),
    )
