"""Registers the built-in sources, in the order in which they are searched."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import SourceSpec


@hookimpl
def register_sources() -> Iterator[SourceSpec]:
    """Register local sources with a higher priority than the network."""
    yield SourceSpec(
        name="path", target="millpond_sources.path:find_folder", summary="a folder on this machine", priority=40
    )
    yield SourceSpec(
        name="cache",
        target="millpond_sources.hub:find_in_cache",
        summary="the Hugging Face Hub's cache on this machine",
        priority=30,
    )
    yield SourceSpec(
        name="package",
        target="millpond_sources.package:find_in_package",
        summary="a model in an installed Python package",
        priority=20,
    )
    yield SourceSpec(
        name="hub", target="millpond_sources.hub:fetch", summary="the Hugging Face Hub, over the network", priority=10
    )
