"""ModelLayers: what the caller, files and records state about one model, and the model that they resolve to."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from millpond.model.embedding_size import full_size, sparse_kind, truncated_size
from millpond.model.layers import Layer, Layers
from millpond.model.pooler_settings import GROUP, task_pooling
from millpond.model.spec import AdapterFiles, ModelIdentity, ResolvedModel
from millpond.types.config import CheckpointConfig, PoolerConfig

if TYPE_CHECKING:
    from millpond.model.repository import Repository
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import ArchitectureSpec, ConverterSpec, PublishedModelSpec

GROUPS: Mapping[str, Any] = {
    it.name: it.default_factory for it in fields(ResolvedModel) if is_dataclass(it.default_factory)
}
SPARSE_SIMILARITY = Layer("the pooling type", {"embedding.similarity": "dot"})  # the length of vectors is meaningful


@dataclass(frozen=True, kw_only=True)
class ModelLayers(Layers):
    """The layers of one model, and the records that it is built from.

    Attributes:
        repository: The model's folder.
        config: config.json with the caller's overrides.
        architecture: The record of the architecture.
        converter: The record of the converter that turns it into a pooling model; None for a native pooling model.
        implementation: The implementation of the architecture, as in ``model_impl``.
        tasks: The tasks of the model.
        published: The record of the published model; None for an unknown model.
    """

    repository: "Repository"
    config: CheckpointConfig
    architecture: "Entry[ArchitectureSpec]"
    converter: "Entry[ConverterSpec] | None"
    implementation: str
    tasks: tuple[str, ...]
    published: "PublishedModelSpec | None"

    @property
    def registry(self) -> "Registry":
        """The records of plugins."""
        return self.repository.registry

    def over(self, layer: Layer) -> "ModelLayers":
        """Return the same layers under another one."""
        return replace(self, layers=(layer, *self.layers))

    @property
    def adapters(self) -> Mapping[str, AdapterFiles]:
        """The adapters in the model's folder, by name; empty if the architecture does not support adapters."""
        names, folder = self.architecture.spec.checkpoint.adapter_folders, self.repository.transformer_path
        adapters = [it for it in self.repository.layers.get("files.adapters", ()) if it.folder.parent == folder]
        return {} if names is None else {names.get(it.folder.name, it.folder.name): it for it in adapters}

    @cached_property
    def model(self) -> ResolvedModel:
        """The model that the layers resolve to."""
        return resolve(self)


def resolve(layers: ModelLayers) -> ResolvedModel:
    """Return the model that layers resolve to: each value from the first layer that states it, or from a rule."""
    rules = _rules(layers)
    groups: dict[str, Any] = {
        name: group(**_stated(layers, name, [it.name for it in fields(group)], rules)) for name, group in GROUPS.items()
    }
    return ResolvedModel(
        identity=ModelIdentity(
            model=layers.repository.model,
            path=str(layers.repository.path),
            source=layers.repository.source,
            architecture=layers.architecture.spec.name,
            implementation=layers.implementation,
            converter=None if layers.converter is None else layers.converter.spec.name,
        ),
        hf_config=layers.config,
        max_model_len=layers.get("max_model_len"),
        dtype=layers.get("dtype"),
        pooler_config=PoolerConfig(**_stated(layers, GROUP, PoolerConfig.model_fields, {})),
        tasks=layers.tasks,
        pooling_types=rules["pooling_types"],
        **groups,
    )


def _stated(layers: ModelLayers, group: str, names: Any, rules: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a group of settings that a rule or a layer states, by name."""
    paths = {name: f"{group}.{name}" for name in names}
    values = {name: rules[path] if path in rules else layers.get(path) for name, path in paths.items()}
    return {name: value for name, value in values.items() if value is not None}


def _rules(layers: ModelLayers) -> dict[str, Any]:
    """The values that follow from several others, by path."""
    tasks, sparse, full = layers.registry.tasks, sparse_kind(layers), full_size(layers)
    truncates = "embed" in layers.tasks and sparse is None
    truncate_dim = layers.get("embedding.truncate_dim") if truncates else None
    has_dimensions = layers.get(f"{GROUP}.dimensions") is not None
    pooling = {task: task_pooling(layers.registry, layers, tasks.get(task).spec) for task in layers.tasks}
    return {
        "pooling_types": pooling,
        "embedding.sparse": sparse,
        "embedding.full_size": full,
        "embedding.truncate_dim": truncate_dim,
        "embedding.size": full if has_dimensions else truncated_size(full, truncate_dim),
        "prompting.prompts": layers.merged("prompting.prompts"),
        "prompting.adapters": (*layers.get("prompting.adapters", ()), *layers.adapters),
    }
