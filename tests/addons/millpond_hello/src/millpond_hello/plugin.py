"""Names what Millpond Hello brings."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ArchitectureSpec, PoolerSpec, PoolingDefaults

MILLPOND_API = 1


@hookimpl
def register_poolers() -> Iterator[PoolerSpec]:
    """One pooling method."""
    yield PoolerSpec(
        name="MIN",
        target="millpond_hello.pooling:MinPooling",
        summary="the smallest value of each dimension",
        tasks=("embed",),
    )


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """One architecture."""
    yield ArchitectureSpec(
        name="HelloModel",
        target="millpond_hello.model:HelloModel",
        summary="word vectors",
        tasks=("embed", "token_embed"),
        pooling=PoolingDefaults("MIN"),
    )
