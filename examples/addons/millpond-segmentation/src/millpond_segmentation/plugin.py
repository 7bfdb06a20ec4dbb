"""Registers the model and the IO processor."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ArchitectureSpec, IOProcessorSpec, ModelExtras

MILLPOND_API = 1


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """Register PatchSegmenter; ``features`` states that its IO processor creates its whole input."""
    yield ArchitectureSpec(
        name="PatchSegmenter",
        target="millpond_segmentation.model:PatchSegmenter",
        summary="the class of each pixel of a tile",
        tasks=("plugin",),
        modalities=("features",),
        extras=ModelExtras(tiny="millpond_segmentation.tiny:write_tiny"),
    )


@hookimpl
def register_io_processors() -> Iterator[IOProcessorSpec]:
    """Register the IO processor, which config.json names under ``io_processor_plugin``."""
    yield IOProcessorSpec(
        name="segmentation",
        target="millpond_segmentation.processor:SegmentationProcessor",
        summary="an image of any size in, a mask of its classes out",
        tasks=("plugin",),
    )
