"""The dimensions of embeddings, by config.json and the modules of a checkpoint. Without torch."""

from typing import TYPE_CHECKING

from millpond.types.config import JOINED_BY, CheckpointConfig

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond.loading.resolve import Resolution
    from millpond.plugin.registry import Registry
    from millpond.types.checkpoint import ModuleFacts

WIDTHS = ("hidden_size", "n_embd", "dim")  # the dimensions of hidden states, as config.json may call them


def full_embedding_size(resolution: "Resolution") -> int | None:
    """The dimensions of an embedding before any are cut off; None if no file states them."""
    registry, size = resolution.repository.registry, _pooled_size(resolution)
    for module in resolution.facts.modules.after:
        if "embed" in resolution.tasks or not _is_sparse(registry, module):
            size = size_after(registry, module, size)
    return size


def makes_sparse(repository: "Repository") -> bool:
    """True if a module after pooling makes sparse vectors of what is pooled."""
    return any(_is_sparse(repository.registry, module) for module in repository.facts.modules.after)


def size_after(registry: "Registry", module: "ModuleFacts", size: int | None) -> int | None:
    """The dimensions of the vectors that a module makes.

    Args:
        registry: The records of plugins.
        module: The module.
        size: The dimensions of what it takes; None if they are not known.
    """
    entry = registry.modules.find(module.type)
    if entry is not None and entry.spec.size is not None:
        found = entry.load("size")(module.config, size)
    else:
        found = module.config.get("out_features", size)
    return found if isinstance(found, int) else None


def _is_sparse(registry: "Registry", module: "ModuleFacts") -> bool:
    entry = registry.modules.find(module.type)
    return entry is not None and entry.spec.sparse


def _pooled_size(resolution: "Resolution") -> int | None:
    """The dimensions of what is pooled."""
    config, output = resolution.config, resolution.architecture.spec.output
    if resolution.late_interaction is not None and resolution.late_interaction.dim is not None:
        return resolution.late_interaction.dim
    if resolution.size_key is not None:
        size = config.get(resolution.size_key)
        return size if isinstance(size, int) else None
    if output.size_keys:
        return next(filter(None, (_size_at(config, key) for key in output.size_keys)), None)
    if output.size_from_num_labels and "embed" in resolution.tasks:
        return resolution.num_labels
    size = next((said for part in (config, config.of_text) for key in WIDTHS if (said := part.get(key))), None)
    for module in resolution.facts.modules.before:
        size = size_after(resolution.repository.registry, module, size)
    pooling = resolution.pooler.get("seq_pooling_type")
    methods = 1 if pooling is None else len(pooling.value.split(JOINED_BY))
    return size * methods if isinstance(size, int) else None


def _size_at(config: CheckpointConfig, path: str) -> int | None:
    """The number at a place of config.json, such as ``text_config.hidden_size``; None where there is none."""
    value: object = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, CheckpointConfig) else None
    return value if isinstance(value, int) else None
