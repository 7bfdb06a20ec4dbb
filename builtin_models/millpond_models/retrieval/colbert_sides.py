"""How ColBERT models read queries and documents where their files do not state it, and how wide vectors are."""

import string
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.compat.warn import warn_caller
from millpond.loading.files import read_headers
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond.types.late_interaction import Expansion, LateInteraction, QueryDocumentConfig

if TYPE_CHECKING:
    from millpond.loading.repository import Repository

PROJECTION = "linear.weight"
DIM_KEYS = ("colbert_dim", "dim", "projection_dim")  # of config.json
STANFORD = LateInteraction(
    query=QueryDocumentConfig(marker="[unused0]"),
    document=QueryDocumentConfig(marker="[unused1]", skipped=tuple(string.punctuation)),
    expansion=Expansion(length=32),
)


def read_marked(repository: "Repository", config: CheckpointConfig) -> LateInteraction:
    """As the files state, else as Stanford's ColBERT has it.

    Raises:
        CheckpointError: If config.json states dimensions that are no number.
    """
    return _sized(repository.facts.retrieval.late_interaction_value or STANFORD, config)


def __getattr__(name: str) -> Any:
    """Return ``read_marked`` by the name that records of plugins stated before 0.2."""
    if name != "read_stanford":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warn_caller(f"read_stanford was renamed: state {__name__}:read_marked as late_interaction")
    return read_marked


def read_projected(repository: "Repository", config: CheckpointConfig) -> LateInteraction:
    """As the files state, else without markers; as wide as the projection where nothing states it.

    Raises:
        CheckpointError: If config.json states dimensions that are no number.
    """
    said = _sized(repository.facts.retrieval.late_interaction_value or LateInteraction(), config)
    return said if said.dim is not None else replace(said, dim=_width(repository.transformer_path))


def _sized(said: LateInteraction, config: CheckpointConfig) -> LateInteraction:
    """The same, with the dimensions of config.json where it states any."""
    dim = next((config[key] for key in DIM_KEYS if config.get(key) is not None), None)
    if dim is None:
        return said
    if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
        message = f"config.json: dim must be a positive number of tokens; got {dim!r}"
        raise CheckpointError(message)
    return replace(said, dim=dim)


def _width(folder: Path) -> int | None:
    """The dimensions by the shape of the projection in the checkpoint; None if it is not there."""
    return next((tensor.shape[0] for tensor in read_headers(folder) if tensor.name == PROJECTION), None)
