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
ORIGINS = {"user": COMMAND_LINE, "default": "the default of Millpond"}
KNOWN = "what is known of models of that name, or modules.json"
CLASSIFYING = ("classify", "token_classify")
EMBEDDING = ("embed", "token_embed")


@dataclass(frozen=True)
class Pooling:
    """Looks at what a model is resolved to.

    Attributes:
        registry: All that plugins brought.
        resolution: The resolved model.
        attempt: Gives what a look finds; None, and a problem noted, if it cannot.
    """

    registry: Registry
    resolution: Resolution
    attempt: Callable[[Callable[[], Any]], Any]

    @property
    def repository(self) -> Repository:
        """Its files."""
        return self.resolution.repository

    def tasks(self) -> list[dict[str, Any]]:
        """Each task with its pooling type and its activation."""
        return [self._task(name) for name in self.resolution.tasks]

    def pooler(self) -> dict[str, dict[str, Any]]:
        """Every field of the pooler config, its value, and who decided it."""
        fields = PoolerConfig.model_fields
        unsaid = {name: Choice(value=field.default, origin="default") for name, field in fields.items()}
        choices = {**unsaid, **self.resolution.pooler}
        return {name: {"value": it.value, "from": self._origin(it)} for name, it in choices.items()}

    def classes(self) -> dict[str, Any] | None:
        """Its classes or scores; None for a model that gives none."""
        if not set(self.resolution.tasks) & set(CLASSIFYING):
            return None
        activation = self.resolution.classifier_activation
        by_number = f"the default for {'one score' if self.resolution.num_labels == 1 else 'several classes'}"
        return {
            "num_labels": self.resolution.num_labels,
            "labels": list(self.resolution.model_config().labels),
            "activation": activation.value,
            "activation_from": by_number if activation.origin == "default" else self._origin(activation),
        }

    def embedding_size(self) -> int | None:
        """The dimensions of a vector; None for a model that gives none, or does not say."""
        return self.resolution.embedding_size if set(self.resolution.tasks) & set(EMBEDDING) else None

    def truncate_dim(self) -> dict[str, Any] | None:
        """The dimensions that are kept by default, of how many, and who decided it; None if all are."""
        kept = self.resolution.truncate_dim
        if kept is None:
            return None
        return {"value": kept.value, "of": self.resolution.full_embedding_size, "from": kept.origin}

    def matryoshka(self, overrides: object) -> dict[str, Any] | None:
        """Return the sizes that its vectors may be cut to, and their origin; None if there are none."""
        model = self.resolution.model_config()
        if not model.is_matryoshka or self.embedding_size() is None:
            return None
        key = "matryoshka_dimensions" if model.matryoshka_dimensions else "is_matryoshka"
        kept = self.resolution.truncate_dim
        if kept is not None and not model.hf_config.get(key):
            return {"dimensions": None, "from": kept.origin}
        return {"dimensions": list(model.matryoshka_dimensions) or None, "from": self._says(key, overrides)}

    def io_processor(self) -> dict[str, Any] | None:
        """The IO processor of the task ``plugin``; None if none is named."""
        name = self.resolution.io_processor_plugin
        if name is None:
            return None
        return {"name": name, "plugin": self.registry.io_processors.get(name).origin.plugin, "from": "config.json"}

    def _task(self, name: str) -> dict[str, Any]:
        spec = self.registry.tasks.get(name).spec
        key = "tok_pooling_type" if spec.per_token else "seq_pooling_type"
        pooling = self.resolution.pooler.get(key, Choice(value=spec.default_pooling, origin="task"))
        get = self.registry.poolers.get
        found = [self.attempt(partial(get, one)) for one in pooling.value.split(JOINED_BY)]
        poolers: list[Entry[PoolerSpec]] = [entry for entry in found if entry is not None]
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
        """The activation of a task's results, and who decided it."""
        wanted = self.resolution.pooler.get("use_activation", Choice(value=True, origin="task"))
        if not wanted.value:
            return None, self._origin(wanted, task=task)
        normalize = self.repository.facts.pooling.normalize
        own = next((entry.spec for entry in poolers if entry.spec.activation is not None), None)
        if own is not None and own.activation == "identity" and normalize is not None and normalize.value:
            return "normalize", normalize.origin
        if own is not None:
            return None if own.activation == "identity" else own.activation, f"the pooling type {own.name}"
        if task == "token_classify" and self.resolution.architecture.spec.output.token_weights:
            return "relu", f"the architecture {self.resolution.architecture.spec.name}"
        classes = self.classes() if task in CLASSIFYING else None
        if classes is not None:
            return classes["activation"], classes["activation_from"]
        return default, self._origin(wanted, task=task)

    def _origin(self, choice: Choice, task: str = "") -> str:
        if choice.origin == "task":
            return f"the default of the task {task}"
        if choice.origin == "architecture":
            return f"the architecture {self.resolution.architecture.spec.name}"
        return ORIGINS.get(choice.origin, choice.origin)

    def _says(self, key: str, overrides: object) -> str:
        return says(self.repository.config, key, overrides)


def says(config: CheckpointConfig, key: str, overrides: object) -> str:
    """Return the origin of the effective value of a key of config.json.

    Args:
        config: config.json as the file has it.
        key: The key.
        overrides: The values that the command line replaces.
    """
    if isinstance(overrides, dict) and key in overrides:
        return f"{COMMAND_LINE} ({key})"
    return f"config.json ({key})" if config.get(key) is not None else KNOWN


def known_settings(registry: Registry, repository: Repository) -> dict[str, Any]:
    """The keys of config.json that it lacks and that are known all the same, or that count in place of its own."""
    config = with_known(registry, repository)
    return {key: value for key, value in config.to_dict().items() if repository.config.to_dict().get(key) != value}


def prompts_of(
    facts: CheckpointFacts, config: CheckpointConfig | None, published: PublishedModelSpec | None
) -> dict[str, Any]:
    """The prompts of a model: named ones, the default, and True if their tokens are pooled."""
    own, origin = value_of(facts.prompts.named, {}), None if facts.prompts.named is None else facts.prompts.named.origin
    named = own if config is None else named_prompts(config, facts, published)
    instructions = {} if config is None else config.get("task_instructions") or {}
    origins = {**dict.fromkeys(named, KNOWN), **dict.fromkeys(instructions, "config.json (task_instructions)")}
    origins |= dict.fromkeys(own, origin)
    return {
        "named": dict(named),
        "from": {name: origins[name] for name in named},
        "default": value_of(facts.prompts.default),
        "include_prompt": value_of(facts.pooling.include_prompt, default=True),
    }


def notes_on_prompts(facts: CheckpointFacts, named: Mapping[str, str]) -> Iterator[str]:
    """Yield notes on the prompts of a model.

    Args:
        facts: What the files state.
        named: The prompts by their names.
    """
    default, include = facts.prompts.default, facts.pooling.include_prompt
    if default is not None:
        said = f"({named[default.value]!r})" if default.value in named else "that it does not have"
        way_out = "it stands before a text with --apply-default-prompt, or apply_default_prompt=True, alone"
        yield f"{default.origin} names a default prompt {default.value!r} {said}: {way_out}"
    if include is not None and not include.value:
        yield f"{include.origin} leaves prompts out of pooling: their tokens are read, and the text's alone are pooled"
