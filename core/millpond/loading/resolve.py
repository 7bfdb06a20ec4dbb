"""Which architecture, tasks, pooler settings and limits a repository gets, and who decided each. Without torch."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from millpond.config import CheckpointConfig, Choice, ModelConfig, PoolerConfig, merge
from millpond.errors import CheckpointError, InvalidInputError, UnknownNameError
from millpond.loading.header import read_headers
from millpond.loading.lengths import Statement, choose_length, state_lengths

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond.registry import Entry, Registry
    from millpond.specs import ArchitectureSpec, ConverterSpec, PoolerSpec

Overrides = Mapping[str, Any] | Callable[[CheckpointConfig], Any] | None
logger = logging.getLogger(__name__)
DTYPES = {"half": "float16", "float": "float32"}
KNOWN_DTYPES = ("auto", "float32", "float", "bfloat16", "float16", "half")
RUNNERS = ("auto", "pooling", "generate", "draft")


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What the caller says of how a model is to be loaded; see ``millpond.LLM``."""

    runner: str = "auto"
    convert: str = "auto"
    dtype: str = "auto"
    max_model_len: int | None = None
    pooler_config: PoolerConfig = field(default_factory=PoolerConfig)
    hf_overrides: Overrides = None
    allow_pickle: bool = False
    skip_tokenizer: bool = False


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What a repository is loaded as, and who decided it.

    Attributes:
        repository: The folder of files.
        config: config.json with the caller's overrides.
        architecture: The record of the architecture that serves it.
        converter: The record of the converter that makes it a pooling model; None for a native one.
        tasks: The tasks it serves.
        pooler: The pooler settings, each with the layer that decided it.
        lengths: All that the files say of the maximum length.
        max_model_len: The one that counts.
        dtype: The dtype asked for, or the checkpoint's.
    """

    repository: "Repository"
    config: CheckpointConfig
    architecture: "Entry[ArchitectureSpec]"
    converter: "Entry[ConverterSpec] | None"
    tasks: tuple[str, ...]
    pooler: Mapping[str, Choice]
    lengths: tuple[Statement, ...]
    max_model_len: Choice
    dtype: Choice

    @property
    def pooler_config(self) -> PoolerConfig:
        """The pooler settings as a config."""
        return PoolerConfig(**{name: choice.value for name, choice in self.pooler.items()})

    @property
    def embedding_size(self) -> int | None:
        """The dimensions of an embedding: those of the last Dense module, else the hidden size."""
        dense = self.repository.sentence_transformers.dense
        size = dense[-1].config.get("out_features") if dense else self.config.get("hidden_size")
        return size if isinstance(size, int) else None

    def model_config(self) -> ModelConfig:
        """The part of this that the rest of the program needs."""
        return ModelConfig(
            model=self.repository.model,
            path=str(self.repository.path),
            source=self.repository.source,
            architecture=self.architecture.spec.name,
            hf_config=self.config,
            max_model_len=self.max_model_len.value,
            dtype=self.dtype.value,
            pooler_config=self.pooler_config,
            tasks=self.tasks,
            embedding_size=self.embedding_size,
            prompts=self.repository.sentence_transformers.prompts,
        )


def resolve(registry: "Registry", repository: "Repository", options: LoadOptions) -> Resolution:
    """Decide what a repository is loaded as.

    Raises:
        CheckpointError: If its files contradict each other.
        UnknownNameError: If nothing serves its architecture.
        InvalidInputError: If an option does not fit the model.
    """
    if options.runner not in RUNNERS:
        message = f"runner={options.runner!r}: expected one of {', '.join(RUNNERS)}"
        raise InvalidInputError(message, parameter="runner")
    if options.runner in ("generate", "draft"):
        message = (
            "LLM.encode() is only supported for pooling models. "
            "Try passing `--runner pooling` to use the model as a pooling model."
        )
        raise InvalidInputError(message, parameter="runner")
    config = override_config(repository.config, options.hf_overrides)
    architecture, converter = choose_architecture(registry, config, options.convert)
    spec = architecture.spec
    said = state_lengths(repository, config, positions=spec.positions)
    tasks = spec.tasks if converter is None else converter.spec.tasks
    pooler = merge_pooler(registry, options.pooler_config, repository, spec)
    _check_pooler(registry, pooler, tasks)
    return Resolution(
        repository=repository,
        config=config,
        architecture=architecture,
        converter=converter,
        tasks=tasks,
        pooler=pooler,
        lengths=tuple(said),
        max_model_len=choose_length(said, positions=spec.positions, asked=options.max_model_len),
        dtype=choose_dtype(options.dtype, config, repository),
    )


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


def choose_architecture(
    registry: "Registry", config: CheckpointConfig, convert: str
) -> "tuple[Entry[ArchitectureSpec], Entry[ConverterSpec] | None]":
    """The architecture that serves a config, and the converter it needs."""
    names = config.get("architectures")
    there = ", ".join(registry.architectures.names()) or "none"
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        message = (
            f"config.json has no list 'architectures', which says what the model is; got {names!r}. "
            f"Say it with hf_overrides={{'architectures': [...]}}; there are: {there}"
        )
        raise CheckpointError(message)
    for name in names:
        architecture = registry.architectures.find(name)
        if architecture is not None:
            return architecture, _choose_converter(registry, architecture, convert)
    message = (
        f"no plugin brings the architecture {' or '.join(map(repr, names))}; there are: {there}. An installed "
        "plugin whose register_architectures yields that name would bring it; `millpond plugins list` shows what is "
        "installed and what failed to load. hf_overrides={'architectures': [...]} chooses one that is there"
    )
    raise UnknownNameError(message)


def _choose_converter(
    registry: "Registry", architecture: "Entry[ArchitectureSpec]", convert: str
) -> "Entry[ConverterSpec] | None":
    tasks = architecture.spec.tasks
    if convert == "none" or (convert == "auto" and tasks) or convert in tasks:
        return None
    if convert != "auto":
        return registry.converters.get(convert)
    name = architecture.spec.name
    found = [
        (len(pattern), entry)
        for entry in registry.converters.entries()
        for pattern in entry.spec.architectures
        if fnmatchcase(name, pattern)
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def merge_pooler(
    registry: "Registry", user: PoolerConfig, repository: "Repository", spec: "ArchitectureSpec"
) -> dict[str, Choice]:
    """The pooler settings, each with the layer that decided it: user > sentence-transformers > architecture."""
    files = repository.sentence_transformers
    return merge(
        ("user", _spread_pooling_type(registry, user).model_dump(exclude_unset=True)),
        (
            "sentence_transformers",
            {"seq_pooling_type": "+".join(files.pooling_types) or None, "use_activation": files.normalize},
        ),
        ("architecture", {"seq_pooling_type": spec.pooling}),
    )


def _spread_pooling_type(registry: "Registry", config: PoolerConfig) -> PoolerConfig:
    """Put ``pooling_type`` where it belongs, by the tasks that its pooler serves."""
    if config.pooling_type is None:
        return config
    per_token = _per_token(registry, registry.poolers.get(config.pooling_type))
    fields = config.model_dump(exclude_unset=True, exclude={"pooling_type"})
    if True in per_token:
        fields["tok_pooling_type"] = config.pooling_type
    if per_token != {True}:
        fields["seq_pooling_type"] = config.pooling_type
    return PoolerConfig(**fields)


def _per_token(registry: "Registry", pooler: "Entry[PoolerSpec]") -> set[bool]:
    """Whether the tasks that a pooler serves have one result a token, and whether they have one a prompt."""
    return {registry.tasks.get(task).spec.per_token for task in pooler.spec.tasks if task in registry.tasks}


def _check_pooler(registry: "Registry", pooler: Mapping[str, Choice], tasks: tuple[str, ...]) -> None:
    """Refuse settings that no task of the model can follow; a pooler that is not there is refused when it is built."""
    task = pooler.get("task")
    if task is not None and task.value not in tasks:
        message = f"pooler_config: Unsupported task: {task.value!r} Supported tasks: {tasks}"
        raise InvalidInputError(message, parameter="pooler_config")
    for name, per_token, gives in (("seq_pooling_type", False, "token"), ("tok_pooling_type", True, "prompt")):
        choice = pooler.get(name)
        entry = registry.poolers.find(choice.value) if choice is not None else None
        if entry is not None and _per_token(registry, entry) == {not per_token}:
            message = (
                f"pooler_config: {name}={entry.spec.name!r} does not fit, that pooler gives one result a {gives}; "
                "`pooling_type` puts it where it belongs"
            )
            raise InvalidInputError(message, parameter="pooler_config")


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
