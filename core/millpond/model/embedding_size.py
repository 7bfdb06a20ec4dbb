"""Rules for the dimensions of embeddings: their number, and whether they are sparse. Does not import torch."""

from typing import TYPE_CHECKING

from millpond.model.pooler_settings import SEQ_PATH, size_key_of
from millpond.types.config import JOINED_BY, CheckpointConfig

if TYPE_CHECKING:
    from millpond.model.model_layers import ModelLayers
    from millpond.model.spec import ModuleSettings
    from millpond.plugin.registry import Registry

SPARSE_SIZE_KEY = "vocab_size"  # the size key of poolers that return a weight for each token of the vocabulary


def sparse_kind(layers: "ModelLayers") -> str | None:
    """Return the kind of sparse embeddings, "features" or "tokens"; None for dense embeddings."""
    registry = layers.registry
    if "embed" in layers.tasks and any(_is_sparse(registry, module) for module in layers.get("modules.after", ())):
        return "features"
    return "tokens" if size_key_of(registry, layers.get(SEQ_PATH)) == SPARSE_SIZE_KEY else None


def full_size(layers: "ModelLayers") -> int | None:
    """Return the dimensions of an embedding before truncation; None if no file states them.

    They are those of the last module, else of the pooler or of the token vectors.
    """
    registry, size = layers.registry, _pooled_size(layers)
    for module in layers.get("modules.after", ()):
        if "embed" in layers.tasks or not _is_sparse(registry, module):
            size = _size_after(registry, module, size)
    return size


def truncated_size(full: int | None, truncate_dim: int | None) -> int | None:
    """Return the default number of dimensions of embeddings that are truncated; None if unknown."""
    if truncate_dim is None:
        return full
    return truncate_dim if full is None else min(full, truncate_dim)


def _size_after(registry: "Registry", module: "ModuleSettings", size: int | None) -> int | None:
    """The number of dimensions that a module returns; None if unknown.

    Args:
        registry: The records of plugins.
        module: The module.
        size: The number of dimensions of its input; None if unknown.
    """
    entry = registry.modules.find(module.type)
    if entry is not None and entry.spec.size is not None:
        new_size = entry.load("size")(module.config, size)
    else:
        new_size = module.config.get("out_features", size)
    return new_size if isinstance(new_size, int) else None


def _is_sparse(registry: "Registry", module: "ModuleSettings") -> bool:
    entry = registry.modules.find(module.type)
    return entry is not None and entry.spec.sparse


def _pooled_size(layers: "ModelLayers") -> int | None:
    """The number of dimensions of pooled vectors; None if unknown."""
    config, output = layers.config, layers.architecture.spec.output
    late_interaction, pooling = layers.get("retrieval.late_interaction"), layers.get(SEQ_PATH)
    if late_interaction is not None and late_interaction.dim is not None:
        dim: int = late_interaction.dim
        return dim
    key = size_key_of(layers.registry, pooling)
    if key is not None:
        size = config.get(key)
        return size if isinstance(size, int) else None
    if output.size_keys:
        return next(filter(None, (_size_at(config, key) for key in output.size_keys)), None)
    if output.size_from_num_labels and "embed" in layers.tasks:
        num_labels: int = layers.get("classification.num_labels")
        return num_labels
    size = layers.get("files.hidden_size")
    for module in layers.get("modules.before", ()):
        size = _size_after(layers.registry, module, size)
    methods = 1 if pooling is None else len(pooling.split(JOINED_BY))
    return size * methods if isinstance(size, int) else None


def _size_at(config: CheckpointConfig, path: str) -> int | None:
    """The integer at a dotted path of config.json, such as ``text_config.hidden_size``; None if it is missing."""
    value: object = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, CheckpointConfig) else None
    return value if isinstance(value, int) else None
