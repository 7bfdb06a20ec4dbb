"""The record of the executor of CUDA devices."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ExecutorSpec


@hookimpl
def register_executors() -> Iterator[ExecutorSpec]:
    """Compute batches on a CUDA device in this process."""
    yield ExecutorSpec(
        name="cuda",
        target="millpond_cuda.executor:open_cuda",
        summary="One CUDA device in this process, with several batches in flight or recorded graphs on request.",
    )
