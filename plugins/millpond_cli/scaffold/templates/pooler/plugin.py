"""Registers the components of this package."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import PoolerSpec

MILLPOND_API = 1


@hookimpl
def register_poolers() -> Iterator[PoolerSpec]:
    """Register the pooling type ADDON_NAME."""
    yield PoolerSpec(
        name="ADDON_NAME",
        target="addon_package.pooling:AddonNamePooling",
        summary="the middle between the minimum and the maximum of each dimension",
        tasks=("embed", "classify"),
    )
