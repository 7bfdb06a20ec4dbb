"""Resolves a repository to its architecture, tasks, pooler settings and limits. Does not import torch."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from millpond.loading.architecture import REWARD, choose_architecture, with_architecture, with_extra_heads
from millpond.loading.classification import choose_activation, count_labels, named_activation, overrides_activation
from millpond.loading.files import check_sizes, read_headers
from millpond.loading.lengths import choose_length, state_lengths
from millpond.loading.pooler_settings import (
    LATE_INTERACTION_TASK,
    check_pooler,
    is_late,
    merge_pooler,
    spread_pooling_type,
)
from millpond.loading.published import with_known, without_conflicting_tokens
from millpond.loading.resolution import Resolution
from millpond.plugin.blame import is_foreign
from millpond.types.checkpoint import value_of
from millpond.types.compute import check_dtype
from millpond.types.config import JOINED_BY, CheckpointConfig, Choice, InputOptions, PoolerConfig
from millpond.types.errors import InvalidInputError, UnknownNameError
from millpond.types.late_interaction import LateInteraction

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond.plugin.registry import Registry

Overrides = Mapping[str, Any] | Callable[[CheckpointConfig], Any] | None
logger = logging.getLogger(__name__)
DTYPE_ALIASES = {"half": "float16", "float": "float32"}
RUNNERS = ("auto", "pooling", "generate", "draft")


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """The caller's options for loading a model; see ``millpond.LLM``."""

    runner: str = "auto"
    convert: str = "auto"
    model_impl: str = "auto"
    dtype: str = "auto"
    max_model_len: int | None = None
    pooler_config: PoolerConfig = field(default_factory=PoolerConfig)
    hf_overrides: Overrides = None
    allow_pickle: bool = False
    skip_tokenizer: bool = False
    io_processor_plugin: str | None = None
    inputs: InputOptions = field(default_factory=InputOptions)


def resolve(registry: "Registry", repository: "Repository", options: LoadOptions) -> Resolution:
    """Resolve the configuration that a repository is loaded with.

    Raises:
        CheckpointError: If its files contradict each other.
        UnknownNameError: If its architecture is not supported.
        InvalidInputError: If an option does not fit the model.
    """
    _check_runner(options.runner)
    if repository.plugins is not registry:
        repository = replace(repository, plugins=registry)
    facts = repository.facts
    named = with_architecture(registry, with_known(registry, repository))
    known = with_extra_heads(registry, repository, named, allow_pickle=options.allow_pickle)
    config = without_conflicting_tokens(known, override_config(known, options.hf_overrides))
    by_caller = overrides_activation(options.hf_overrides, known, config)
    user = spread_pooling_type(registry, options.pooler_config)
    chosen = choose_architecture(
        registry,
        config,
        options.convert,
        pooling=user.tok_pooling_type or user.seq_pooling_type or JOINED_BY.join(facts.pooling_types) or None,
        classifies=value_of(facts.task) == "classify",
        implementation=options.model_impl,
    )
    late = LATE_INTERACTION_TASK in chosen.tasks and is_late(facts, user, options.convert)
    tasks = (LATE_INTERACTION_TASK,) if late else chosen.tasks
    spec = chosen.architecture.spec
    if spec.checkpoint.config_defaults:
        config = with_defaults(config, spec.checkpoint.config_defaults)
    is_plugins = is_foreign(chosen.architecture) or is_foreign(chosen.converter)
    check_sizes(config, read_headers(repository.transformer_path), is_foreign=is_plugins)
    lengths = state_lengths(repository, config, positions=spec.text.positions)
    reader = None if spec.extras.late_interaction is None else chosen.architecture.load("extras.late_interaction")
    late_interaction = read_late_interaction(repository, config, reader)
    pooler = merge_pooler(user, facts, config, chosen, late=late, rewards=options.convert == REWARD)
    plugin = _plugin_of(registry, config, options.io_processor_plugin)
    check_pooler(registry, pooler, tasks if plugin is None else (*tasks, "plugin"))
    return Resolution(
        repository=repository,
        config=config,
        architecture=chosen.architecture,
        implementation=chosen.implementation,
        converter=chosen.converter,
        tasks=tasks,
        pooler=pooler,
        classifier_activation=choose_activation(
            config,
            facts,
            spec.output.num_labels or count_labels(config, facts),
            named=None if by_caller else named_activation(registry, chosen),
        ),
        io_processor_plugin=plugin,
        late_interaction=late_interaction,
        max_model_len=choose_length(
            lengths,
            positions=spec.text.positions,
            requested=options.max_model_len,
            query_document_length=0 if late_interaction is None else late_interaction.longest,
        ),
        dtype=choose_dtype(options.dtype, config, repository),
    )


def _check_runner(runner: str) -> None:
    if runner not in RUNNERS:
        message = f"runner={runner!r}: expected one of {', '.join(RUNNERS)}"
        raise InvalidInputError(message, parameter="runner")
    if runner in ("generate", "draft"):
        message = (
            "LLM.encode() is only supported for pooling models. "
            "Try passing `--runner pooling` to use the model as a pooling model."
        )
        raise InvalidInputError(message, parameter="runner")


def with_defaults(config: CheckpointConfig, defaults: Mapping[str, Any]) -> CheckpointConfig:
    """Return config.json with default values for missing keys.

    The older spelling of a part, such as ``text_config_dict`` for ``text_config``, takes precedence over the newer
    one, including its defaults for missing keys, like in transformers.
    """
    older = {
        part: {**part_defaults, **config[f"{part}_dict"]}
        for part, part_defaults in defaults.items()
        if isinstance(part_defaults, Mapping) and isinstance(config.get(f"{part}_dict"), CheckpointConfig)
    }
    return CheckpointConfig(defaults).overridden(config.to_dict()).overridden(older)


def read_late_interaction(
    repository: "Repository", config: CheckpointConfig, reader: Any = None
) -> LateInteraction | None:
    """Return the settings of queries and documents; None if the files do not specify any.

    Args:
        repository: The files of the model.
        config: config.json with the overrides.
        reader: The function in the architecture's record that completes the settings in the files. It is not used if
            the files themselves state that the model is a late interaction model.

    Raises:
        CheckpointError: If a file specifies something that is not supported.
    """
    facts = repository.facts
    if reader is None or value_of(facts.task) == LATE_INTERACTION_TASK:
        return facts.retrieval.late_interaction_value
    settings: LateInteraction | None = reader(repository, config)
    return settings


def override_config(config: CheckpointConfig, overrides: Overrides) -> CheckpointConfig:
    """Return config.json with the caller's overrides: a mapping to merge, or a function of the config."""
    if overrides is None:
        return config
    if callable(overrides):
        overrides = overrides(config)
    if not isinstance(overrides, Mapping):
        message = f"hf_overrides must be a dict, or a function that returns one; got {type(overrides).__name__}"
        raise InvalidInputError(message, parameter="hf_overrides")
    return config.overridden(overrides)


def _plugin_of(registry: "Registry", config: CheckpointConfig, requested: str | None) -> str | None:
    """The IO processor of the task "plugin": the requested one, else the one in config.json; None if neither is set.

    Raises:
        UnknownNameError: If it is not installed.
    """
    name = requested or config.get("io_processor_plugin")
    if name is None:
        return None
    available = [e.spec.name for e in registry.io_processors.entries() if "plugin" in e.spec.tasks]
    if not available:
        raise UnknownNameError(f"No IOProcessor plugins installed but one is required ({name}).")
    entry = registry.io_processors.find(name) if isinstance(name, str) else None
    if entry is None or "plugin" not in entry.spec.tasks:
        message = (
            f"The model requires the {name!r} IO Processor plugin but it is not installed. "
            f"Available plugins: {available}"
        )
        raise UnknownNameError(message)
    return name


def choose_dtype(requested: str, config: CheckpointConfig, repository: "Repository") -> Choice:
    """Choose the dtype: the requested one; for "auto" the one in config.json, else that of the first tensor."""
    requested = check_dtype(requested)
    if requested != "auto":
        return Choice(value=DTYPE_ALIASES.get(requested, requested), origin="user")
    for key in ("dtype", "torch_dtype"):
        name = str(config.get(key)).removeprefix("torch.")
        if name in ("float32", "float16", "bfloat16"):
            return Choice(value=name, origin=f"config.json ({key})")
    for header in read_headers(repository.transformer_path):
        if header.dtype in ("float32", "float16", "bfloat16"):
            return Choice(value=header.dtype, origin=f"the weights ({header.name})")
        if header.dtype == "float64":
            logger.warning("the weights (%s) are float64: running in float32", header.name)
            return Choice(value="float32", origin=f"the weights ({header.name}): float64, which is not supported")
    return Choice(value="float32", origin="default")


def with_dtype(resolution: Resolution, dtype: Choice) -> Resolution:
    """Return the same resolution with another dtype."""
    return replace(resolution, dtype=dtype)
