"""Which architecture, tasks, pooler settings and limits a repository gets, and who decided each. Without torch."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from millpond.loading.architecture import choose_architecture, with_architecture
from millpond.loading.classification import choose_activation, count_labels, named_activation, overrides_activation
from millpond.loading.extra_weights import with_extra_heads
from millpond.loading.header import read_headers
from millpond.loading.lengths import Statement, choose_length, state_lengths
from millpond.loading.pooler_settings import (
    LATE,
    check_pooler,
    is_late,
    merge_pooler,
    size_key_of,
    spread_pooling_type,
)
from millpond.loading.published import published_model, rerank_template, with_known, without_rivals
from millpond.loading.similarity import choose_late_similarity, choose_similarity
from millpond.loading.sizes import full_embedding_size, makes_sparse
from millpond.types.checkpoint import AdapterFacts, CheckpointFacts, value_of
from millpond.types.config import JOINED_BY, CheckpointConfig, Choice, InputOptions, ModelConfig, PoolerConfig
from millpond.types.errors import InvalidInputError, UnknownNameError
from millpond.types.late_interaction import LateInteraction
from millpond.types.rerank_template import RerankTemplate

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import ArchitectureSpec, ConverterSpec, PublishedModelSpec

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


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What a repository is loaded as, and who decided it.

    Attributes:
        repository: The folder of files.
        config: config.json with the caller's overrides.
        architecture: The record of the architecture that serves it.
        converter: The record of the converter that makes it a pooling model; None for a native one.
        implementation: The implementation of the architecture, as in ``model_impl``.
        tasks: The tasks it serves.
        pooler: The pooler settings, each with the layer that decided it.
        lengths: All that the files say of the maximum length.
        max_model_len: The one that counts.
        dtype: The dtype asked for, or the checkpoint's.
        classifier_activation: The activation of its classes or scores, where it gives any.
        io_processor_plugin: The name of the IO processor of the task "plugin"; None for none.
        inputs: What becomes of prompts where a call does not say.
        late_interaction: How queries and documents are read; None where no file says that there are any.
        size_key: The key of config.json that says how many values its pooler gives; None for the hidden size.
        published: The record of the published model; None for an unknown model.
        rerank_template: The text that it reads for a query and a document; None for the tokenizer's pair.
    """

    repository: "Repository"
    config: CheckpointConfig
    architecture: "Entry[ArchitectureSpec]"
    converter: "Entry[ConverterSpec] | None"
    implementation: str
    tasks: tuple[str, ...]
    pooler: Mapping[str, Choice]
    lengths: tuple[Statement, ...]
    max_model_len: Choice
    dtype: Choice
    classifier_activation: Choice
    io_processor_plugin: str | None = None
    inputs: InputOptions = field(default_factory=InputOptions)
    late_interaction: LateInteraction | None = None
    size_key: str | None = None
    published: "PublishedModelSpec | None" = None
    rerank_template: RerankTemplate | None = None

    @property
    def num_labels(self) -> int:
        """How many classes or scores it gives."""
        own = self.architecture.spec.output.num_labels
        return own or count_labels(self.config, self.facts)

    @property
    def facts(self) -> CheckpointFacts:
        """What the files state beside config.json."""
        return self.repository.facts

    @property
    def pooler_config(self) -> PoolerConfig:
        """The pooler settings as a config."""
        return PoolerConfig(**{name: choice.value for name, choice in self.pooler.items()})

    @property
    def prompts(self) -> dict[str, str]:
        """The named prompts."""
        return named_prompts(self.config, self.facts, self.published)

    @property
    def truncate_dim(self) -> Choice | None:
        """The dimensions kept of an embedding by default, as the files state it; None for all."""
        return None if "embed" not in self.tasks or self.sparse is not None else self.facts.embedding.truncate_dim

    @property
    def embedding_size(self) -> int | None:
        """The dimensions of an embedding by default: all, or as many as ``truncate_dim`` keeps."""
        size, kept = self.full_embedding_size, self.truncate_dim
        return (
            size
            if kept is None or "dimensions" in self.pooler
            else kept.value
            if size is None
            else min(size, kept.value)
        )

    @property
    def full_embedding_size(self) -> int | None:
        """The dimensions before any are cut off: those of its last module, else of its pooler or token vectors."""
        return full_embedding_size(self)

    @property
    def similarity(self) -> Choice:
        """How two embeddings are compared, and who decided it."""
        return choose_similarity(self.facts.embedding.similarity, sparse=self.sparse is not None)

    @property
    def sparse(self) -> str | None:
        """What sparse embeddings are weights of, as ``ModelConfig`` has it; None where they are not sparse."""
        if makes_sparse(self.repository) and "embed" in self.tasks:
            return "features"
        return "tokens" if self.size_key == SIZE_OF_SPARSE else None

    @property
    def adapters(self) -> Mapping[str, AdapterFacts]:
        """The adapters beside the weights, by name; empty where the architecture takes none."""
        names, folder = self.architecture.spec.checkpoint.adapter_folders, self.repository.transformer_path
        beside = [adapter for adapter in self.facts.adapters if adapter.folder.parent == folder]
        return {} if names is None else {names.get(it.folder.name, it.folder.name): it for it in beside}

    def model_config(self) -> ModelConfig:
        """The part of this that the rest of the program needs."""
        facts, retrieval = self.facts, self.facts.retrieval
        return ModelConfig(
            model=self.repository.model,
            path=str(self.repository.path),
            source=self.repository.source,
            architecture=self.architecture.spec.name,
            implementation=self.implementation,
            hf_config=self.config,
            max_model_len=self.max_model_len.value,
            dtype=self.dtype.value,
            pooler_config=self.pooler_config,
            tasks=self.tasks,
            embedding_size=self.embedding_size,
            full_embedding_size=self.full_embedding_size,
            truncate_dim=None if self.truncate_dim is None else self.truncate_dim.value,
            prompts=self.prompts,
            default_prompt_name=value_of(facts.prompts.default),
            adapters=(*named_adapters(self.config, self.architecture.spec.checkpoint.adapters_key), *self.adapters),
            include_prompt=value_of(facts.pooling.include_prompt, default=True),
            num_labels=self.num_labels,
            classifier_activation=self.classifier_activation.value,
            io_processor_plugin=self.io_processor_plugin,
            similarity=self.similarity.value,
            late_similarity=choose_late_similarity(facts.embedding.similarity).value,
            sparse=self.sparse,
            normalizes=bool(value_of(facts.pooling.normalize)),
            max_active_dims=value_of(facts.embedding.max_active_dims),
            late_interaction=self.late_interaction,
            query_table=retrieval.query_table,
            modalities=self.architecture.spec.modalities,
            image_reader=self.architecture.spec.extras.image_processor,
            chat_template=None if self.published is None else self.published.chat_template,
            rerank_template=self.rerank_template,
        )


def resolve(registry: "Registry", repository: "Repository", options: LoadOptions) -> Resolution:
    """Decide what a repository is loaded as.

    Raises:
        CheckpointError: If its files contradict each other.
        UnknownNameError: If nothing serves its architecture.
        InvalidInputError: If an option does not fit the model.
    """
    _check_runner(options.runner)
    facts = repository.facts
    published = published_model(registry, repository)
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
        inputs=options.inputs,
        late_interaction=sides,
        size_key=size_key_of(registry, pooler),
        published=published,
        rerank_template=rerank_template(registry, repository, config),
        lengths=tuple(said),
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


def named_prompts(
    config: CheckpointConfig, facts: CheckpointFacts, published: "PublishedModelSpec | None"
) -> dict[str, str]:
    """Return the named prompts: ``task_instructions`` of config.json > the other files > published model."""
    instructions = config.get("task_instructions")
    own = instructions if isinstance(instructions, CheckpointConfig) else {}
    known = {} if published is None else published.prompts
    stated = value_of(facts.prompts.named, {})
    return {**known, **stated, **{name: text for name, text in own.items() if isinstance(text, str)}}


def named_adapters(config: CheckpointConfig, key: str | None) -> tuple[str, ...]:
    """The names of the adapters that config.json lists under an architecture's key; empty for none."""
    names = None if key is None else config.get(key)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


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
