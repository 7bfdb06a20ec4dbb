"""The records of published models of which little must be known. Sources are the models' own pages."""

from collections.abc import Mapping
from typing import Final

from millpond.plugin.specs import PublishedModelSpec

ANY_SIZE: Final[Mapping[str, object]] = {"is_matryoshka": True}


def models(architecture: str, *names: str, named: str | None = None) -> tuple[PublishedModelSpec, ...]:
    """Return the records of models whose files contain everything.

    Args:
        architecture: The architecture that runs them.
        *names: Their names.
        named: The architecture in their config.json; None for any.
    """
    return tuple(
        PublishedModelSpec(name=name, architecture=architecture, checkpoint_architecture=named) for name in names
    )


def matryoshka(architecture: str, name: str, *sizes: int) -> PublishedModelSpec:
    """Return the record of a model whose embeddings can be truncated to these sizes, or to any size."""
    config = {"matryoshka_dimensions": list(sizes)} if sizes else ANY_SIZE
    return PublishedModelSpec(name=name, architecture=architecture, config=config)
