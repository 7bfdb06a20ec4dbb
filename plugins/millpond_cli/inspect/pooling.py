"""Pooling in the report of ``millpond inspect``: poolers of tasks, classes, sizes, prompts, and their origins."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from millpond.model.layers import DEFAULT, USER, Layers
from millpond.model.model_layers import ModelLayers
from millpond.model.pooler_settings import pooling_layer, task_pooling
from millpond.model.repository import Repository
from millpond.model.spec import ResolvedModel
from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import PoolerSpec
from millpond.types.config import JOINED_BY, CheckpointConfig, PoolerConfig

COMMAND_LINE = "the command line"
BUILTIN_DEFAULT = "the default of Millpond"
PUBLISHED = "the settings published for this model, or modules.json"
TASK = "task"
ORIGINS = {USER: COMMAND_LINE, DEFAULT: BUILTIN_DEFAULT, "published model": PUBLISHED}
TRUNCATE_DIM = "embedding.truncate_dim"
CLASSIFICATION_TASKS = ("classify", "token_classify")
EMBEDDING_TASKS = ("embed", "token_embed")


@dataclass(frozen=True)
class PoolingReport:
    """The part of the report on tasks, poolers, classes and sizes of vectors.

    Attributes:
        registry: The registry of plugin records.
        layers: What is stated about the model.
        attempt: Calls a function and returns its result; if it fails, records the problem and returns None.
    """

    registry: Registry
    layers: ModelLayers
    attempt: Callable[[Callable[[], Any]], Any]

    @property
    def model(self) -> ResolvedModel:
        """The resolved model."""
        return self.layers.model

    def tasks(self) -> list[dict[str, Any]]:
        """Return each task with its pooling type and activation."""
        return [self._task(name) for name in self.model.tasks]

    def pooler(self) -> dict[str, dict[str, Any]]:
        """Return each field of the pooler config with its value and origin."""
        return {
            name: {
                "value": getattr(self.model.pooler_config, name),
                "from": self._named(self.layers.origin(f"pooler_config.{name}")),
            }
            for name in PoolerConfig.model_fields
        }

    def classes(self) -> dict[str, Any] | None:
        """Return the classes and their activation; None for a model without classification tasks."""
        if not set(self.model.tasks) & set(CLASSIFICATION_TASKS):
            return None
        classes, origin = self.model.classification, self.layers.origin("classification.activation")
        default = f"the default for {'one score' if classes.num_labels == 1 else 'several classes'}"
        return {
            "num_labels": classes.num_labels,
            "labels": list(self.model.labels),
            "activation": classes.activation,
            "activation_from": default if origin == DEFAULT else self._named(origin),
        }

    def embedding_size(self) -> int | None:
        """Return the number of dimensions of vectors; None if it is unknown or the model does not embed."""
        return self.model.embedding_size if set(self.model.tasks) & set(EMBEDDING_TASKS) else None

    def truncate_dim(self) -> dict[str, Any] | None:
        """Return the default size of vectors, the full size and the origin; None if vectors are not truncated."""
        embedding = self.model.embedding
        if embedding.truncate_dim is None:
            return None
        origin = self.layers.origin(TRUNCATE_DIM)
        return {"value": embedding.truncate_dim, "of": embedding.full_size, "from": origin}

    def matryoshka(self, overrides: object) -> dict[str, Any] | None:
        """Return the sizes that vectors can be truncated to, with their origin; None if it is not supported."""
        model = self.model
        if not model.is_matryoshka or self.embedding_size() is None:
            return None
        key = "matryoshka_dimensions" if model.matryoshka_dimensions else "is_matryoshka"
        if model.embedding.truncate_dim is not None and not model.hf_config.get(key):
            return {"dimensions": None, "from": self.layers.origin(TRUNCATE_DIM)}
        origin = config_origin(self.layers.repository.config, key, overrides)
        return {"dimensions": list(model.matryoshka_dimensions) or None, "from": origin}

    def io_processor(self) -> dict[str, Any] | None:
        """Return the IO processor of the task ``plugin``; None if none is specified."""
        name = self.model.prompting.io_processor_plugin
        if name is None:
            return None
        return {"name": name, "plugin": self.registry.io_processors.get(name).origin.plugin, "from": "config.json"}

    def _task(self, name: str) -> dict[str, Any]:
        spec = self.registry.tasks.get(name).spec
        layer, pooling = pooling_layer(self.registry, self.layers, spec), task_pooling(self.registry, self.layers, spec)
        origin = TASK if layer is None else layer.origin(f"pooler_config.{spec.pooling_key}")
        get = self.registry.poolers.get
        entries = [self.attempt(partial(get, name)) for name in pooling.split(JOINED_BY)]
        poolers: list[Entry[PoolerSpec]] = [entry for entry in entries if entry is not None]
        activation, activation_origin = self._activation(name, spec.default_activation, poolers)
        return {
            "name": name,
            "pooling": pooling,
            "pooling_from": self._named(origin, task=name),
            "pooler_plugin": ", ".join(dict.fromkeys(entry.origin.plugin for entry in poolers)) or None,
            "activation": activation,
            "activation_from": activation_origin,
        }

    def _activation(
        self, task: str, default: str | None, poolers: Sequence[Entry[PoolerSpec]]
    ) -> tuple[str | None, str]:
        """Return the activation of a task's results, and its origin."""
        path = "pooler_config.use_activation"
        origin = self._named(TASK if self.layers.find(path) is None else self.layers.origin(path), task=task)
        if self.layers.get(path) is False:
            return None, origin
        spec = next((entry.spec for entry in poolers if entry.spec.activation is not None), None)
        if spec is not None and spec.activation == "identity" and self.model.embedding.normalizes:
            return "normalize", self.layers.origin("embedding.normalizes")
        if spec is not None:
            return None if spec.activation == "identity" else spec.activation, f"the pooling type {spec.name}"
        if task == "token_classify" and self.layers.architecture.spec.output.token_weights:
            return "relu", f"the architecture {self.model.architecture}"
        classes = self.classes() if task in CLASSIFICATION_TASKS else None
        if classes is not None:
            return classes["activation"], classes["activation_from"]
        return default, origin

    def _named(self, origin: str, task: str = "") -> str:
        if origin == TASK:
            return f"the default of the task {task}"
        if origin == "architecture":
            return f"the architecture {self.model.architecture}"
        return ORIGINS.get(origin, origin)


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


def published_settings(repository: Repository) -> dict[str, Any]:
    """Return the settings that plugins provide for this published model and that differ from config.json."""
    stored = repository.config.to_dict()
    return {key: value for key, value in repository.reader.known.to_dict().items() if stored.get(key) != value}


def prompts_of(layers: Layers) -> dict[str, Any]:
    """Return the named prompts with their origins, the default prompt, and whether prompt tokens are pooled."""
    path = "prompting.prompts"
    named = layers.merged(path)
    origins = {name: layers.origin(path, name) for name in named}
    return {
        "named": named,
        "from": {name: ORIGINS.get(origin, origin) for name, origin in origins.items()},
        "default": layers.get("prompting.default_name"),
        "include_prompt": layers.get("prompting.include_prompt", default=True),
    }


def notes_on_prompts(layers: Layers) -> Iterator[str]:
    """Yield notes on the prompts of a model."""
    default, named = layers.get("prompting.default_name"), layers.merged("prompting.prompts")
    if default is not None:
        prompt = f"({named[default]!r})" if default in named else "that does not exist"
        condition = "it is only used with --apply-default-prompt or apply_default_prompt=True"
        origin = layers.origin("prompting.default_name")
        yield f"{origin} specifies a default prompt {default!r} {prompt}; {condition}"
    if layers.get("prompting.include_prompt") is False:
        origin = layers.origin("prompting.include_prompt")
        yield f"{origin} excludes prompts from pooling: only the tokens of the text are pooled"
