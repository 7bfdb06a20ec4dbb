"""Registers the components of Millpond Hello."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ArchitectureSpec, PoolerSpec, PoolingDefaults

MILLPOND_API = 1


@hookimpl
def register_poolers() -> Iterator[PoolerSpec]:
    """Register the pooling type MIN."""
    yield PoolerSpec(
        name="MIN",
        target="millpond_hello.pooling:MinPooling",
        summary="the minimum of each dimension",
        tasks=("embed",),
    )


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """Register the architecture."""
    yield ArchitectureSpec(
        name="HelloModel",
        target="millpond_hello.model:HelloModel",
        summary="word embeddings",
        tasks=("embed", "token_embed"),
        pooling=PoolingDefaults("MIN"),
    )
