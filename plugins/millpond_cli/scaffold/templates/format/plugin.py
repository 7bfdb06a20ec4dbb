"""Registers the components of this package."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import CheckpointFormatSpec

MILLPOND_API = 1


@hookimpl
def register_checkpoint_formats() -> Iterator[CheckpointFormatSpec]:
    """Register the format addon_name, which is read if the checkpoint has the file addon_name.json."""
    yield CheckpointFormatSpec(
        name="addon_name",
        target="addon_package.format:read_addon_name",
        files=("addon_name.json",),
        summary="pooling and prompts in addon_name.json",
    )
