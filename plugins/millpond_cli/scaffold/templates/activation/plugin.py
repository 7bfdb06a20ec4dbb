"""Registers the components of this package."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ActivationSpec

MILLPOND_API = 1


@hookimpl
def register_activations() -> Iterator[ActivationSpec]:
    """Register the activation addon_name."""
    yield ActivationSpec(
        name="addon_name",
        target="addon_package.functions:addon_name",
        summary="x / (1 + |x|), between -1 and 1",
    )
