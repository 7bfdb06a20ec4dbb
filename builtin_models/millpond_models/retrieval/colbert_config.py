"""Default settings of ColBERT models for queries and documents, and the dimensions of token vectors."""

import string
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond.types.late_interaction import Expansion, LateInteraction, QueryDocumentConfig
from millpond_checkpoints.headers import read_headers

if TYPE_CHECKING:
    from millpond.model.model_layers import ModelLayers

PATH, PROJECTION = "retrieval.late_interaction", "linear.weight"
DIM_KEYS = ("colbert_dim", "dim", "projection_dim")  # of config.json
STANFORD = LateInteraction(
    query=QueryDocumentConfig(marker="[unused0]"),
    document=QueryDocumentConfig(marker="[unused1]", skipped=tuple(string.punctuation)),
    expansion=Expansion(length=32),
)


def read_marked(layers: "ModelLayers") -> LateInteraction:
    """Return the settings in the checkpoint's files, by default those of Stanford's ColBERT.

    Raises:
        CheckpointError: If the dimension in config.json is not a positive integer.
    """
    return _with_dim(layers.get(PATH, STANFORD), layers.config)


def read_projected(layers: "ModelLayers") -> LateInteraction:
    """Return the settings in the checkpoint's files, by default without markers and with the projection's dimension.

    Raises:
        CheckpointError: If the dimension in config.json is not a positive integer.
    """
    late_interaction = _with_dim(layers.get(PATH, LateInteraction()), layers.config)
    if late_interaction.dim is not None:
        return late_interaction
    return replace(late_interaction, dim=_projection_dim(layers.repository.transformer_path))


def _with_dim(late_interaction: LateInteraction, config: CheckpointConfig) -> LateInteraction:
    """Return the settings with the dimension in config.json, if any."""
    dim = next((config[key] for key in DIM_KEYS if config.get(key) is not None), None)
    if dim is None:
        return late_interaction
    if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
        message = f"config.json: dim must be a positive integer; got {dim!r}"
        raise CheckpointError(message)
    return replace(late_interaction, dim=dim)


def _projection_dim(folder: Path) -> int | None:
    """Return the output dimension of the projection in the checkpoint; None if there is no projection."""
    return next((tensor.shape[0] for tensor in read_headers(folder) if tensor.name == PROJECTION), None)
