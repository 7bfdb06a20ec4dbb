"""The record of the executor `mp`."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ExecutorSpec


@hookimpl
def register_executors() -> Iterator[ExecutorSpec]:
    """Compute batches in several processes of this machine."""
    yield ExecutorSpec(
        name="mp",
        target="millpond_parallel.executor:ProcessExecutor",
        summary="Engine processes on this machine, which exchange batches through shared memory.",
    )
