"""Registers the components of Millpond Geo."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ArchitectureSpec, IOProcessorSpec

MILLPOND_API = 1


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """Register an architecture that supports only the task "plugin"."""
    yield ArchitectureSpec(
        name="TileSegmenter",
        target="millpond_geo.model:TileSegmenter",
        summary="the class of each pixel of a tile",
        tasks=("plugin",),
        modalities=("features",),
    )


@hookimpl
def register_io_processors() -> Iterator[IOProcessorSpec]:
    """Register the IO processor."""
    yield IOProcessorSpec(
        name="tiles",
        target="millpond_geo.tiles:TilesProcessor",
        summary="satellite tiles to masks of land cover",
        tasks=("plugin",),
    )
