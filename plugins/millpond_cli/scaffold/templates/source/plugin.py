"""Registers the components of this package."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import SourceSpec

MILLPOND_API = 1


@hookimpl
def register_sources() -> Iterator[SourceSpec]:
    """Register the source addon_name, as in ``addon_name:NAME``."""
    yield SourceSpec(
        name="addon_name",
        target="addon_package.source:find_model",
        summary="the folders in $ADDON_NAME_MODELS",
        priority=35,
    )
