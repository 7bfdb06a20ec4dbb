"""Names the IO processors that Millpond comes with."""

from collections.abc import Iterator

from millpond.hookspecs import hookimpl
from millpond.specs import IOProcessorSpec


@hookimpl
def register_io_processors() -> Iterator[IOProcessorSpec]:
    """Text or token ids in; vectors out."""
    yield IOProcessorSpec(
        name="embed",
        target="millpond_io.embed:EmbedProcessor",
        summary="text or token ids to vectors",
        tasks=("embed", "token_embed"),
    )
