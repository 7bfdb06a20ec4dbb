"""Pooling in the report of ``millpond inspect``: poolers of tasks, classes, sizes, prompts, and their origins."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from millpond.loading.published import with_known
from millpond.loading.repository import Repository
from millpond.loading.resolution import Resolution, named_prompts
from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import PoolerSpec, PublishedModelSpec
from millpond.types.checkpoint import CheckpointFacts, value_of
from millpond.types.config import JOINED_BY, CheckpointConfig, Choice, PoolerConfig

COMMAND_LINE = "the command line"
BUILTIN_DEFAULT = "the default of Millpond"
ORIGINS = {"user": COMMAND_LINE, "default": BUILTIN_DEFAULT}
PUBLISHED = "the settings published for this model, or modules.json"
CLASSIFICATION_TASKS = ("classify", "token_classify")
EMBEDDING_TASKS = ("embed", "token_embed")


@dataclass(frozen=True)
class PoolingReport:
    """The part of the report on tasks, poolers, classes and sizes of vectors.

    Attributes:
        registry: The registry of plugin records.
        resolution: The resolved model.
        attempt: Calls a function and returns its result; if it fails, records the problem and returns None.
    """

    registry: Registry
    resolution: Resolution
    attempt: Callable[[Callable[[], Any]], Any]

    @property
    def repository(self) -> Repository:
        """The files of the model."""
        return self.resolution.repository

    def tasks(self) -> list[dict[str, Any]]:
        """Return each task with its pooling type and activation."""
        return [self._task(name) for name in self.resolution.tasks]

    def pooler(self) -> dict[str, dict[str, Any]]:
        """Return each field of the pooler config with its value and origin."""
        fields = PoolerConfig.model_fields
        defaults = {name: Choice(value=field.default, origin="default") for name, field in fields.items()}
        choices = {**defaults, **self.resolution.pooler}
        return {name: {"value": it.value, "from": self._origin(it)} for name, it in choices.items()}

    def classes(self) -> dict[str, Any] | None:
        """Return the classes and their activation; None for a model without classification tasks."""
        if not set(self.resolution.tasks) & set(CLASSIFICATION_TASKS):
            return None
        activation = self.resolution.classifier_activation
        default = f"the default for {'one score' if self.resolution.num_labels == 1 else 'several classes'}"
        return {
            "num_labels": self.resolution.num_labels,
            "labels": list(self.resolution.model_config().labels),
            "activation": activation.value,
            "activation_from": default if activation.origin == "default" else self._origin(activation),
        }

    def embedding_size(self) -> int | None:
        """Return the number of dimensions of vectors; None if it is unknown or the model does not embed."""
        return self.resolution.embedding_size if set(self.resolution.tasks) & set(EMBEDDING_TASKS) else None

    def truncate_dim(self) -> dict[str, Any] | None:
        """Return the default size of vectors, the full size and the origin; None if vectors are not truncated."""
        truncate_dim = self.resolution.truncate_dim
        if truncate_dim is None:
            return None
        return {"value": truncate_dim.value, "of": self.resolution.full_embedding_size, "from": truncate_dim.origin}

    def matryoshka(self, overrides: object) -> dict[str, Any] | None:
        """Return the sizes that vectors can be truncated to, with their origin; None if it is not supported."""
        model = self.resolution.model_config()
        if not model.is_matryoshka or self.embedding_size() is None:
            return None
        key = "matryoshka_dimensions" if model.matryoshka_dimensions else "is_matryoshka"
        truncate_dim = self.resolution.truncate_dim
        if truncate_dim is not None and not model.hf_config.get(key):
            return {"dimensions": None, "from": truncate_dim.origin}
        origin = config_origin(self.repository.config, key, overrides)
        return {"dimensions": list(model.matryoshka_dimensions) or None, "from": origin}

    def io_processor(self) -> dict[str, Any] | None:
        """Return the IO processor of the task ``plugin``; None if none is specified."""
        name = self.resolution.io_processor_plugin
        if name is None:
            return None
        return {"name": name, "plugin": self.registry.io_processors.get(name).origin.plugin, "from": "config.json"}

    def _task(self, name: str) -> dict[str, Any]:
        spec = self.registry.tasks.get(name).spec
        pooling = self.resolution.pooling(name)
        get = self.registry.poolers.get
        entries = [self.attempt(partial(get, name)) for name in pooling.value.split(JOINED_BY)]
        poolers: list[Entry[PoolerSpec]] = [entry for entry in entries if entry is not None]
        activation, origin = self._activation(name, spec.default_activation, poolers)
        return {
            "name": name,
            "pooling": pooling.value,
            "pooling_from": self._origin(pooling, task=name),
            "pooler_plugin": ", ".join(dict.fromkeys(entry.origin.plugin for entry in poolers)) or None,
            "activation": activation,
            "activation_from": origin,
        }

    def _activation(
        self, task: str, default: str | None, poolers: Sequence[Entry[PoolerSpec]]
    ) -> tuple[str | None, str]:
        """Return the activation of a task's results, and its origin."""
        use_activation = self.resolution.pooler.get("use_activation", Choice(value=True, origin="task"))
        if not use_activation.value:
            return None, self._origin(use_activation, task=task)
        normalize = self.repository.facts.pooling.normalize
        spec = next((entry.spec for entry in poolers if entry.spec.activation is not None), None)
        if spec is not None and spec.activation == "identity" and normalize is not None and normalize.value:
            return "normalize", normalize.origin
        if spec is not None:
            return None if spec.activation == "identity" else spec.activation, f"the pooling type {spec.name}"
        if task == "token_classify" and self.resolution.architecture.spec.output.token_weights:
            return "relu", f"the architecture {self.resolution.architecture.spec.name}"
        classes = self.classes() if task in CLASSIFICATION_TASKS else None
        if classes is not None:
            return classes["activation"], classes["activation_from"]
        return default, self._origin(use_activation, task=task)

    def _origin(self, choice: Choice, task: str = "") -> str:
        if choice.origin == "task":
            return f"the default of the task {task}"
        if choice.origin == "architecture":
            return f"the architecture {self.resolution.architecture.spec.name}"
        return ORIGINS.get(choice.origin, choice.origin)


def config_origin(config: CheckpointConfig, key: str, overrides: object) -> str:
    """Return the origin of the effective value of a key of config.json.

    Args:
        config: The contents of config.json.
        key: The key.
        overrides: The values that the command line overrides.
    """
    if isinstance(overrides, dict) and key in overrides:
        return f"{COMMAND_LINE} ({key})"
    return f"config.json ({key})" if config.get(key) is not None else PUBLISHED


def published_settings(registry: Registry, repository: Repository) -> dict[str, Any]:
    """Return the settings that plugins provide for this published model and that differ from config.json."""
    stored = repository.config.to_dict()
    return {key: value for key, value in with_known(registry, repository).to_dict().items() if stored.get(key) != value}


def prompts_of(
    facts: CheckpointFacts, config: CheckpointConfig | None, published: PublishedModelSpec | None
) -> dict[str, Any]:
    """Return the named prompts with their origins, the default prompt, and whether prompt tokens are pooled."""
    from_files = value_of(facts.prompts.named, {})
    origin = None if facts.prompts.named is None else facts.prompts.named.origin
    named = from_files if config is None else named_prompts(config, facts, published)
    instructions = {} if config is None else config.get("task_instructions") or {}
    origins = {**dict.fromkeys(named, PUBLISHED), **dict.fromkeys(instructions, "config.json (task_instructions)")}
    origins |= dict.fromkeys(from_files, origin)
    return {
        "named": dict(named),
        "from": {name: origins[name] for name in named},
        "default": value_of(facts.prompts.default),
        "include_prompt": value_of(facts.pooling.include_prompt, default=True),
    }


def notes_on_prompts(facts: CheckpointFacts, named: Mapping[str, str]) -> Iterator[str]:
    """Yield notes on the prompts of a model.

    Args:
        facts: The contents of the files.
        named: The prompts, by name.
    """
    default, include = facts.prompts.default, facts.pooling.include_prompt
    if default is not None:
        prompt = f"({named[default.value]!r})" if default.value in named else "that does not exist"
        condition = "it is only used with --apply-default-prompt or apply_default_prompt=True"
        yield f"{default.origin} specifies a default prompt {default.value!r} {prompt}; {condition}"
    if include is not None and not include.value:
        yield f"{include.origin} excludes prompts from pooling: only the tokens of the text are pooled"
