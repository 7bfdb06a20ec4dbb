"""Pooler settings of a model: precedence of their sources, placement of ``pooling_type``, validation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from millpond.loading.architecture import ArchitectureMatch
from millpond.loading.classification import classifier_pooling, named_pooling
from millpond.types.checkpoint import CheckpointFacts, value_of
from millpond.types.config import JOINED_BY, CheckpointConfig, Choice, PoolerConfig, merge
from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import PoolerSpec

LATE_INTERACTION_TASK = "token_embed"
REWARD_TASKS = ("token_classify", "token_embed")
"""The default task of a model that was converted to "reward": the first of these that it serves."""


def merge_pooler(
    user: PoolerConfig,
    facts: CheckpointFacts,
    config: CheckpointConfig,
    chosen: ArchitectureMatch,
    *,
    late: bool,
    rewards: bool = False,
) -> dict[str, Choice]:
    """Merge the pooler settings, each with its origin: user > files > config.json > architecture.

    Args:
        user: The settings of the caller.
        facts: The facts of the files.
        config: The content of config.json.
        chosen: The architecture.
        late: True if the model returns only token vectors, see ``is_late``.
        rewards: True if the model is converted to "reward".
    """
    stated: dict[str, Choice | None] = {"seq_pooling_type": None}
    if facts.pooling.types is not None:
        stated["seq_pooling_type"] = replace(facts.pooling.types, value=JOINED_BY.join(facts.pooling.types.value))
    if late:
        stated |= {"task": facts.task, "use_activation": facts.pooling.normalize}
    elif "embed" in chosen.tasks:
        stated["use_activation"] = facts.pooling.normalize
    spec = chosen.architecture.spec
    settings: dict[str, Any] = {} if chosen.converter is not None else spec.pooling.pooler_config()
    classifies = chosen.converter is None and "classify" in chosen.tasks
    # A model converted to embed, such as a masked language model, pools like its backbone.
    embeds = chosen.converter is None or "embed" in chosen.tasks
    task = next((task for task in REWARD_TASKS if task in chosen.tasks), None) if rewards else None
    key = spec.pooling.config_key
    return merge(
        ("user", {"task": task, **user.model_dump(exclude_unset=True)}),
        ("files", stated),
        ("config.json (classifier_pooling)", {"seq_pooling_type": classifier_pooling(config) if classifies else None}),
        (f"config.json ({key})", {"seq_pooling_type": named_pooling(config, key) if key else None}),
        ("architecture", {"seq_pooling_type": spec.pooling.type if embeds else None, **settings}),
    )


def is_late(facts: CheckpointFacts, user: PoolerConfig, convert: str) -> bool:
    """True if the model returns only token vectors: its files state it, and the caller does not request otherwise."""
    overridden = (
        convert == "embed" or user.seq_pooling_type is not None or user.task not in (None, LATE_INTERACTION_TASK)
    )
    return value_of(facts.task) == LATE_INTERACTION_TASK and not overridden


def size_key_of(registry: "Registry", pooler: Mapping[str, Choice]) -> str | None:
    """Return the key of config.json that states the output size of the embedding pooler; None for the hidden size."""
    pooling = pooler.get("seq_pooling_type")
    entry = None if pooling is None else registry.poolers.find(pooling.value)
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


def task_pooling(registry: "Registry", pooler: Mapping[str, Choice], task: str) -> Choice:
    """Return the pooling type of a task, with its origin: a pooler that does not list the task replaces no default.

    Args:
        registry: The records of plugins.
        pooler: The merged pooler settings.
        task: The name of the task.
    """
    spec = registry.tasks.get(task).spec
    default, choice = Choice(value=spec.pooling, origin="task"), pooler.get(spec.pooling_key)
    if choice is None or choice.origin == "user" or spec.default_pooling is None:
        return choice or default
    entries = filter(None, map(registry.poolers.find, choice.value.split(JOINED_BY)))
    return choice if all(task in entry.spec.tasks for entry in entries) else default


def check_pooler(registry: "Registry", pooler: Mapping[str, Choice], tasks: tuple[str, ...]) -> None:
    """Reject settings that do not fit the tasks of the model; unknown poolers are rejected when they are built."""
    task = pooler.get("task")
    if task is not None and task.value not in tasks:
        message = f"pooler_config: Unsupported task: {task.value!r} Supported tasks: {tasks}"
        raise InvalidInputError(message, parameter="pooler_config")
    for name, per_token, unit in (("seq_pooling_type", False, "token"), ("tok_pooling_type", True, "prompt")):
        choice = pooler.get(name)
        names = [] if choice is None else choice.value.split(JOINED_BY)
        for entry in filter(None, map(registry.poolers.find, names)):
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
