"""Names the tasks that Millpond comes with."""

from collections.abc import Iterator

from millpond.hookspecs import hookimpl
from millpond.specs import TaskSpec


@hookimpl
def register_tasks() -> Iterator[TaskSpec]:
    """One vector a prompt, and one vector a token."""
    yield TaskSpec(
        name="embed",
        target="millpond.outputs:EmbeddingOutput",
        summary="one vector a prompt",
        io_processor="embed",
        default_pooling="LAST",
        default_activation="normalize",
    )
    yield TaskSpec(
        name="token_embed",
        target="millpond.outputs:PoolingOutput",
        summary="one vector a token",
        io_processor="embed",
        default_pooling="ALL",
        default_activation="normalize",
        per_token=True,
    )
