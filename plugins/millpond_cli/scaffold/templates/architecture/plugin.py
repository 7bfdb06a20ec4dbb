"""Registers the components of this package."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ArchitectureSpec, ModelExtras, PoolingDefaults

MILLPOND_API = 1


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """Register AddonNameModel, the name under ``architectures`` in config.json."""
    yield ArchitectureSpec(
        name="AddonNameModel",
        target="addon_package.model:AddonNameModel",
        summary="word embeddings and a feed-forward block",
        tasks=("embed", "token_embed"),
        pooling=PoolingDefaults("MEAN"),
        extras=ModelExtras(tiny="addon_package.tiny:write_tiny"),
    )
