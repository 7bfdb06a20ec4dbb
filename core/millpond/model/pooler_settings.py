"""Pooler settings of a model: what files and records state, placement of ``pooling_type``, validation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from millpond.model.layers import Layer, Layers
from millpond.types.config import JOINED_BY, PoolerConfig
from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from millpond.model.config_source import ConfigSource
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import PoolerSpec, TaskSpec

GROUP = "pooler_config"
SEQ_PATH, USE_ACTIVATION_PATH, TASK_PATH = f"{GROUP}.seq_pooling_type", f"{GROUP}.use_activation", f"{GROUP}.task"
NORMALIZES_PATH, BY_TASK = "embedding.normalizes", "pooling_types"
LATE_INTERACTION_TASK = "token_embed"
REWARD_TASKS = ("token_classify", "token_embed")
"""The default task of a model that was converted to "reward": the first of these that it serves."""


def user_settings(user: PoolerConfig, tasks: tuple[str, ...], *, rewards: bool) -> dict[str, Any]:
    """Return the caller's settings by path; a model that was converted to "reward" has a default task."""
    task = next((task for task in REWARD_TASKS if task in tasks), None) if rewards else None
    settings = {"task": task, **user.model_dump(exclude_unset=True)}
    return {f"{GROUP}.{name}": value for name, value in settings.items()}


def layers_over_files(files: Layers, tasks: tuple[str, ...], *, late: bool) -> tuple[Layer, ...]:
    """Return the layers of settings that follow from what the files state.

    Args:
        files: The layers of the files.
        tasks: The tasks of the architecture.
        late: True if the model returns only token vectors, see ``is_late``.
    """
    normalizes = Layer(files.origin(NORMALIZES_PATH), {USE_ACTIVATION_PATH: files.get(NORMALIZES_PATH)})
    if late:
        return (Layer(files.origin("files.task"), {TASK_PATH: LATE_INTERACTION_TASK}), normalizes)
    return (normalizes,) if "embed" in tasks else ()


def architecture_layer(chosen: "ConfigSource") -> Layer:
    """Return the layer of settings that the record of the architecture states."""
    pooling, is_native = chosen.architecture.spec.pooling, chosen.converter is None
    # A model converted to embed, such as a masked language model, pools like its backbone.
    pools = is_native or "embed" in chosen.tasks
    settings = pooling.pooler_config() if is_native else {}
    architecture = {f"{GROUP}.{name}": value for name, value in settings.items()}
    architecture |= {SEQ_PATH: pooling.type} if pools and pooling.type is not None else {}
    return Layer("architecture", architecture)


def is_late(files: Layers, user: PoolerConfig, convert: str) -> bool:
    """True if the model returns only token vectors: its files state it, and the caller does not request otherwise."""
    overridden = (
        convert == "embed" or user.seq_pooling_type is not None or user.task not in (None, LATE_INTERACTION_TASK)
    )
    return files.get("files.task") == LATE_INTERACTION_TASK and not overridden


def size_key_of(registry: "Registry", pooling_type: str | None) -> str | None:
    """Return the key of config.json that states the output size of the embedding pooler; None for the hidden size."""
    entry = None if pooling_type is None else registry.poolers.find(pooling_type)
    return None if entry is None else entry.spec.size_key


def spread_pooling_type(registry: "Registry", config: PoolerConfig) -> PoolerConfig:
    """Move ``pooling_type`` to ``seq_pooling_type`` or ``tok_pooling_type``, depending on the pooler's tasks."""
    if config.pooling_type is None:
        return config
    names = config.pooling_type.split(JOINED_BY)
    per_token = set[bool]().union(*(_per_token(registry, registry.poolers.get(name)) for name in names))
    fields = config.model_dump(exclude_unset=True, exclude={"pooling_type"})
    if True in per_token:
        fields["tok_pooling_type"] = config.pooling_type
    if per_token != {True}:
        fields["seq_pooling_type"] = config.pooling_type
    return PoolerConfig(**fields)


def pooling_layer(registry: "Registry", layers: Layers, spec: "TaskSpec") -> Layer | None:
    """Return the layer that states the pooling type of a task; None for the task's own pooling type.

    A layer may state it for single tasks, which takes precedence over the types of the same layer for all tasks. A
    pooler that does not list the task replaces no default, unless the caller requests it.

    Args:
        registry: The records of plugins.
        layers: The layers of the model.
        spec: The record of the task.
    """
    path = f"{GROUP}.{spec.pooling_key}"
    layer = next((it for it in layers if it.values.get(path) or spec.name in (it.values.get(BY_TASK) or {})), None)
    if layer is not None and spec.name in (layer.values.get(BY_TASK) or {}):
        return replace(layer, values={path: layer.values[BY_TASK][spec.name]}, keys={path: layer.keys.get(BY_TASK, "")})
    if layer is None or layer.is_request or spec.default_pooling is None:
        return layer
    entries = filter(None, map(registry.poolers.find, layer.values[path].split(JOINED_BY)))
    return layer if all(spec.name in entry.spec.tasks for entry in entries) else None


def task_pooling(registry: "Registry", layers: Layers, spec: "TaskSpec") -> str:
    """Return the pooling type of a task; several that are concatenated are joined by "+"."""
    layer = pooling_layer(registry, layers, spec)
    pooling: str = spec.pooling if layer is None else layer.values[f"{GROUP}.{spec.pooling_key}"]
    return pooling


def check_pooler(registry: "Registry", pooler: Mapping[str, Any], tasks: tuple[str, ...]) -> None:
    """Reject settings that do not fit the tasks of the model; unknown poolers are rejected when they are built."""
    task = pooler.get("task")
    if task is not None and task not in tasks:
        message = f"pooler_config: Unsupported task: {task!r} Supported tasks: {tasks}"
        raise InvalidInputError(message, parameter="pooler_config")
    for name, per_token, unit in (("seq_pooling_type", False, "token"), ("tok_pooling_type", True, "prompt")):
        names = (pooler.get(name) or "").split(JOINED_BY)
        for entry in filter(None, map(registry.poolers.find, filter(None, names))):
            if _per_token(registry, entry) != {not per_token}:
                continue
            message = (
                f"pooler_config: {name}={entry.spec.name!r} does not fit, since that pooler returns one result per "
                f"{unit}; `pooling_type` sets the right option"
            )
            raise InvalidInputError(message, parameter="pooler_config")


def _per_token(registry: "Registry", pooler: "Entry[PoolerSpec]") -> set[bool]:
    """The values of ``per_token`` of a pooler's tasks: True for a result per token, False for one per prompt."""
    return {registry.tasks.get(task).spec.per_token for task in pooler.spec.tasks if task in registry.tasks}
