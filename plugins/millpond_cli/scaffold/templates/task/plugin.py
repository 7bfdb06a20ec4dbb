"""Registers the components of this package."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import IOProcessorSpec, TaskSpec

MILLPOND_API = 1


@hookimpl
def register_tasks() -> Iterator[TaskSpec]:
    """Register the task addon_name; every model that serves embed serves it."""
    yield TaskSpec(
        name="addon_name",
        target="addon_package.task:AddonName",
        summary="a few bits per document, for finding near duplicates",
        io_processor="addon_name",
        derived_from=("embed",),
        item="addon_package.task:AddonNameItem",
        options="addon_package.task:AddonNameOptions",
        method="addon_name",
    )


@hookimpl
def register_io_processors() -> Iterator[IOProcessorSpec]:
    """Register the IO processor of the task."""
    yield IOProcessorSpec(
        name="addon_name",
        target="addon_package.processor:AddonNameProcessor",
        summary="documents in, bits out",
        tasks=("addon_name",),
    )
