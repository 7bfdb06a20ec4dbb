"""Registers the components of this package."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import IOProcessorSpec

MILLPOND_API = 1


@hookimpl
def register_io_processors() -> Iterator[IOProcessorSpec]:
    """Register the IO processor addon_name."""
    yield IOProcessorSpec(
        name="addon_name",
        target="addon_package.processor:AddonNameProcessor",
        summary="several texts in, the mean of their vectors out",
        tasks=("plugin",),
    )
