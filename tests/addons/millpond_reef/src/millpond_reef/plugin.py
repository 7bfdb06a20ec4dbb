"""Names what Millpond Reef brings."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import CheckpointFormatSpec, ModuleSpec

MILLPOND_API = 1


@hookimpl
def register_checkpoint_formats() -> Iterator[CheckpointFormatSpec]:
    """One format: reef.json."""
    yield CheckpointFormatSpec(
        name="reef",
        target="millpond_reef.format:read_reef",
        summary="reef.json: pooling, prompts, length and modules",
        files=("reef.json",),
    )


@hookimpl
def register_modules() -> Iterator[ModuleSpec]:
    """One module after pooling, and one before it."""
    yield ModuleSpec(
        name="reef_net.TideGate",
        target="millpond_reef.gate:TideGate",
        summary="the first dimensions, each multiplied by a number of its own",
        size="millpond_reef.format:gate_size",
    )
    yield ModuleSpec(
        name="reef_net.Drift",
        target="millpond_reef.gate:Drift",
        summary="each token becomes the difference from the first of its text",
        places=("before",),
    )
