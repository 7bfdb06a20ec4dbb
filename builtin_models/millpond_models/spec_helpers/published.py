"""Specs of published models that need few settings. The source is each model's own page."""

from collections.abc import Mapping
from typing import Final

from millpond.plugin.specs import PublishedModelSpec

ANY_SIZE: Final[Mapping[str, object]] = {"is_matryoshka": True}


def models(
    architecture: str, *names: str, checkpoint_architecture: str | None = None
) -> tuple[PublishedModelSpec, ...]:
    """Return the specs of models whose files contain all settings.

    Args:
        architecture: The architecture that runs them.
        *names: Names of the models.
        checkpoint_architecture: The architecture in their config.json; None for any.
    """
    return tuple(
        PublishedModelSpec(name=name, architecture=architecture, checkpoint_architecture=checkpoint_architecture)
        for name in names
    )


def matryoshka(architecture: str, name: str, *sizes: int) -> PublishedModelSpec:
    """Return the spec of a model whose embeddings can be truncated to the given sizes, or to any size."""
    config = {"matryoshka_dimensions": list(sizes)} if sizes else ANY_SIZE
    return PublishedModelSpec(name=name, architecture=architecture, config=config)
