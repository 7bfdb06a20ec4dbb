"""Which architecture, tasks, pooler settings and limits a repository gets, and who decided each. Without torch."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from millpond.loading.architecture import choose_architecture, with_architecture, with_extra_heads
from millpond.loading.classification import choose_activation, count_labels, named_activation, overrides_activation
from millpond.loading.files import read_headers
from millpond.loading.lengths import choose_length, state_lengths
from millpond.loading.pooler_settings import (
    LATE,
    check_pooler,
    is_late,
    merge_pooler,
    spread_pooling_type,
)
from millpond.loading.published import with_known, without_rivals
from millpond.loading.resolution import Resolution
from millpond.types.checkpoint import value_of
from millpond.types.config import JOINED_BY, CheckpointConfig, Choice, InputOptions, PoolerConfig
from millpond.types.errors import InvalidInputError, UnknownNameError
from millpond.types.late_interaction import LateInteraction

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond.plugin.registry import Registry

Overrides = Mapping[str, Any] | Callable[[CheckpointConfig], Any] | None
logger = logging.getLogger(__name__)
DTYPES = {"half": "float16", "float": "float32"}
KNOWN_DTYPES = ("auto", "float32", "float", "bfloat16", "float16", "half")
SIZE_OF_SPARSE = "vocab_size"  # the size key of poolers that give a weight for each token of the vocabulary
RUNNERS = ("auto", "pooling", "generate", "draft")


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What the caller says of how a model is to be loaded; see ``millpond.LLM``."""

    runner: str = "auto"
    convert: str = "auto"
    model_impl: str = "auto"
    dtype: str = "auto"
    max_model_len: int | None = None
    pooler_config: PoolerConfig = field(default_factory=PoolerConfig)
    hf_overrides: Overrides = None
    allow_pickle: bool = False
    skip_tokenizer: bool = False
    old_task: str | None = None
    io_processor_plugin: str | None = None
    inputs: InputOptions = field(default_factory=InputOptions)


def resolve(registry: "Registry", repository: "Repository", options: LoadOptions) -> Resolution:
    """Decide what a repository is loaded as.

    Raises:
        CheckpointError: If its files contradict each other.
        UnknownNameError: If nothing serves its architecture.
        InvalidInputError: If an option does not fit the model.
    """
    _check_runner(options.runner)
    if repository.plugins is not registry:
        repository = replace(repository, plugins=registry)
    facts = repository.facts
    named = with_architecture(registry, with_known(registry, repository))
    known = with_extra_heads(registry, repository, named, allow_pickle=options.allow_pickle)
    config = without_rivals(known, override_config(known, options.hf_overrides))
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
    late = LATE in chosen.tasks and is_late(facts, user, options.convert)
    tasks = (LATE,) if late else chosen.tasks
    spec = chosen.architecture.spec
    if spec.checkpoint.config_defaults:
        config = with_defaults(config, spec.checkpoint.config_defaults)
    said = state_lengths(repository, config, positions=spec.text.positions)
    reader = None if spec.extras.late_interaction is None else chosen.architecture.load("extras.late_interaction")
    sides = read_late_interaction(repository, config, reader)
    pooler = merge_pooler(user, facts, config, chosen, options.old_task)
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
        late_interaction=sides,
        max_model_len=choose_length(
            said,
            positions=spec.text.positions,
            asked=options.max_model_len,
            of_sides=0 if sides is None else sides.longest,
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
    """config.json with what it means where it does not say.

    An older spelling of a part, ``text_config_dict`` of ``text_config``, counts more than the part, and so do the
    defaults of what it leaves out: that is how transformers reads it.
    """
    older = {
        part: {**own, **config[f"{part}_dict"]}
        for part, own in defaults.items()
        if isinstance(own, Mapping) and isinstance(config.get(f"{part}_dict"), CheckpointConfig)
    }
    return CheckpointConfig(defaults).overridden(config.to_dict()).overridden(older)


def read_late_interaction(
    repository: "Repository", config: CheckpointConfig, reader: Any = None
) -> LateInteraction | None:
    """How queries and documents are read; None where no file states that there are any.

    Args:
        repository: The files of the model.
        config: config.json with the overrides.
        reader: The function that the architecture's record names; it completes what the files state, unless they make
            any model one of late interaction.

    Raises:
        CheckpointError: If a file states what is not supported.
    """
    facts = repository.facts
    if reader is None or value_of(facts.task) == LATE:
        return facts.retrieval.reads_sides
    own: LateInteraction | None = reader(repository, config)
    return own


def override_config(config: CheckpointConfig, overrides: Overrides) -> CheckpointConfig:
    """config.json with the caller's overrides: a mapping to merge, or a function of the config."""
    if overrides is None:
        return config
    if callable(overrides):
        overrides = overrides(config)
    if not isinstance(overrides, Mapping):
        message = f"hf_overrides must be a dict, or a function that returns one; got {type(overrides).__name__}"
        raise InvalidInputError(message, parameter="hf_overrides")
    return config.overridden(overrides)


def _plugin_of(registry: "Registry", config: CheckpointConfig, asked: str | None) -> str | None:
    """The IO processor of the task "plugin": the one that was asked for, else the one config.json names.

    Raises:
        UnknownNameError: If it is not there.
    """
    name = asked or config.get("io_processor_plugin")
    if name is None:
        return None
    there = [e.spec.name for e in registry.io_processors.entries() if "plugin" in e.spec.tasks]
    if not there:
        raise UnknownNameError(f"No IOProcessor plugins installed but one is required ({name}).")
    found = registry.io_processors.find(name) if isinstance(name, str) else None
    if found is None or "plugin" not in found.spec.tasks:
        message = (
            f"The model requires the {name!r} IO Processor plugin but it is not installed. Available plugins: {there}"
        )
        raise UnknownNameError(message)
    return name


def choose_dtype(asked: str, config: CheckpointConfig, repository: "Repository") -> Choice:
    """The dtype that was asked for; for ``auto`` the checkpoint's, as config.json or else its first tensor says."""
    asked = str(asked).removeprefix("torch.")
    if asked not in KNOWN_DTYPES:
        message = f"dtype={asked!r}: expected one of {', '.join(KNOWN_DTYPES)}"
        raise InvalidInputError(message, parameter="dtype")
    if asked != "auto":
        return Choice(value=DTYPES.get(asked, asked), origin="user")
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
    """The same resolution, computing in another dtype."""
    return replace(resolution, dtype=dtype)
