"""The settings of a model's poolers: who decides each, where a pooling type belongs, what no task can follow."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from millpond.loading.architecture import Chosen
from millpond.loading.classification import classifier_pooling, named_pooling
from millpond.types.checkpoint import CheckpointFacts, value_of
from millpond.types.config import JOINED_BY, CheckpointConfig, Choice, PoolerConfig, merge
from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import PoolerSpec

LATE = "token_embed"  # the task of late interaction
# What `encode` takes by itself where the model was loaded by the old argument `task`: the first of these it serves.
OLD_TASKS = {
    "embed": ("embed",),
    "classify": ("classify",),
    "score": ("classify", "embed"),
    "reward": ("token_classify", "token_embed"),
}


def merge_pooler(
    user: PoolerConfig,
    facts: CheckpointFacts,
    config: CheckpointConfig,
    chosen: Chosen,
    old_task: str | None = None,
) -> dict[str, Choice]:
    """The pooler settings, each with the layer that decided it: user > files > config.json > architecture."""
    said: dict[str, Choice | None] = {"seq_pooling_type": None}
    if facts.pooling.types is not None:
        said["seq_pooling_type"] = replace(facts.pooling.types, value=JOINED_BY.join(facts.pooling.types.value))
    if value_of(facts.task) == LATE and LATE in chosen.tasks:
        said |= {"task": facts.task, "use_activation": facts.pooling.normalize}
    elif "embed" in chosen.tasks:
        said["use_activation"] = facts.pooling.normalize
    spec = chosen.architecture.spec
    own: dict[str, Any] = {} if chosen.converter is not None else spec.pooling.pooler_config()
    classifies = chosen.converter is None and "classify" in chosen.tasks
    # How a backbone pools is how what is made of it to embed does, such as a masked language model.
    embeds = chosen.converter is None or "embed" in chosen.tasks
    task = next((task for task in OLD_TASKS.get(old_task or "", ()) if task in chosen.tasks), None)
    key = spec.pooling.config_key
    return merge(
        ("user", {"task": task, **user.model_dump(exclude_unset=True)}),
        ("files", said),
        ("config.json (classifier_pooling)", {"seq_pooling_type": classifier_pooling(config) if classifies else None}),
        (f"config.json ({key})", {"seq_pooling_type": named_pooling(config, key) if key else None}),
        ("architecture", {"seq_pooling_type": spec.pooling.type if embeds else None, **own}),
    )


def is_late(facts: CheckpointFacts, user: PoolerConfig, convert: str) -> bool:
    """Whether the model gives vectors of tokens alone: its files say so, and the caller asks for nothing else."""
    asked = convert == "embed" or user.seq_pooling_type is not None or user.task not in (None, LATE)
    return value_of(facts.task) == LATE and not asked


def size_key_of(registry: "Registry", pooler: Mapping[str, Choice]) -> str | None:
    """The key of config.json that says how many values the pooler of embeddings gives."""
    pooling = pooler.get("seq_pooling_type")
    entry = None if pooling is None else registry.poolers.find(pooling.value)
    return None if entry is None else entry.spec.size_key


def spread_pooling_type(registry: "Registry", config: PoolerConfig) -> PoolerConfig:
    """Put ``pooling_type`` where it belongs, by the tasks that its pooler serves."""
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


def check_pooler(registry: "Registry", pooler: Mapping[str, Choice], tasks: tuple[str, ...]) -> None:
    """Refuse settings that no task of the model can follow; a pooler that is not there is refused when it is built."""
    task = pooler.get("task")
    if task is not None and task.value not in tasks:
        message = f"pooler_config: Unsupported task: {task.value!r} Supported tasks: {tasks}"
        raise InvalidInputError(message, parameter="pooler_config")
    for name, per_token, gives in (("seq_pooling_type", False, "token"), ("tok_pooling_type", True, "prompt")):
        choice = pooler.get(name)
        names = [] if choice is None else choice.value.split(JOINED_BY)
        for entry in filter(None, map(registry.poolers.find, names)):
            if _per_token(registry, entry) != {not per_token}:
                continue
            message = (
                f"pooler_config: {name}={entry.spec.name!r} does not fit, that pooler gives one result a {gives}; "
                "`pooling_type` puts it where it belongs"
            )
            raise InvalidInputError(message, parameter="pooler_config")


def _per_token(registry: "Registry", pooler: "Entry[PoolerSpec]") -> set[bool]:
    """Whether the tasks that a pooler serves have one result a token, and whether they have one a prompt."""
    return {registry.tasks.get(task).spec.per_token for task in pooler.spec.tasks if task in registry.tasks}
