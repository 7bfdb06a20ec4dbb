"""Resolution: what a repository is loaded as, who decided it, and what follows from that. Without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from millpond.loading.classification import count_labels
from millpond.loading.lengths import Statement, state_lengths
from millpond.loading.pooler_settings import size_key_of
from millpond.loading.published import published_model, rerank_template
from millpond.types.checkpoint import AdapterFacts, CheckpointFacts, value_of
from millpond.types.config import JOINED_BY, CheckpointConfig, Choice, ModelConfig, PoolerConfig
from millpond.types.late_interaction import LateInteraction
from millpond.types.model_info import (
    ClassificationInfo,
    EmbeddingInfo,
    ModelIdentity,
    MultimodalInfo,
    PromptInfo,
    RetrievalInfo,
)
from millpond.types.rerank_template import RerankTemplate

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import ArchitectureSpec, ConverterSpec, PublishedModelSpec
    from millpond.types.checkpoint import ModuleFacts

SIZE_OF_SPARSE = "vocab_size"  # the size key of poolers that give a weight for each token of the vocabulary
WIDTHS = ("hidden_size", "n_embd", "dim")  # the dimensions of hidden states, as config.json may call them
OF_TEXTS = ("cosine", "dot", "euclidean", "manhattan")  # similarities
OF_TOKENS = ("maxsim", "meanmaxsim")


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
        max_model_len: The most tokens of a text.
        dtype: The dtype asked for, or the checkpoint's.
        classifier_activation: The activation of its classes or scores, where it gives any.
        io_processor_plugin: The name of the IO processor of the task "plugin"; None for none.
        late_interaction: How queries and documents are read; None where no file says that there are any.
    """

    repository: "Repository"
    config: CheckpointConfig
    architecture: "Entry[ArchitectureSpec]"
    converter: "Entry[ConverterSpec] | None"
    implementation: str
    tasks: tuple[str, ...]
    pooler: Mapping[str, Choice]
    max_model_len: Choice
    dtype: Choice
    classifier_activation: Choice
    io_processor_plugin: str | None = None
    late_interaction: LateInteraction | None = None

    @property
    def num_labels(self) -> int:
        """How many classes or scores it gives."""
        own = self.architecture.spec.output.num_labels
        return own or count_labels(self.config, self.facts)

    @property
    def registry(self) -> "Registry":
        """The records of plugins."""
        return self.repository.registry

    @cached_property
    def published(self) -> "PublishedModelSpec | None":
        """The record of the published model; None for an unknown model."""
        return published_model(self.registry, self.repository)

    @cached_property
    def rerank_template(self) -> RerankTemplate | None:
        """The text that it reads for a query and a document; None for the tokenizer's pair."""
        return rerank_template(self.registry, self.repository, self.config)

    @property
    def lengths(self) -> tuple[Statement, ...]:
        """All that the files state of the maximum length."""
        return tuple(state_lengths(self.repository, self.config, positions=self.architecture.spec.text.positions))

    @property
    def size_key(self) -> str | None:
        """The key of config.json that says how many values its pooler gives; None for the hidden size."""
        return size_key_of(self.registry, self.pooler)

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
        return _full_embedding_size(self)

    @property
    def similarity(self) -> Choice:
        """How two embeddings are compared, and who decided it."""
        return _similarity_of_texts(self.facts.embedding.similarity, sparse=self.sparse is not None)

    @property
    def sparse(self) -> str | None:
        """What sparse embeddings are weights of, as ``ModelConfig`` has it; None where they are not sparse."""
        if _makes_sparse(self) and "embed" in self.tasks:
            return "features"
        return "tokens" if self.size_key == SIZE_OF_SPARSE else None

    @property
    def adapters(self) -> Mapping[str, AdapterFacts]:
        """The adapters beside the weights, by name; empty where the architecture takes none."""
        names, folder = self.architecture.spec.checkpoint.adapter_folders, self.repository.transformer_path
        beside = [adapter for adapter in self.facts.adapters if adapter.folder.parent == folder]
        return {} if names is None else {names.get(it.folder.name, it.folder.name): it for it in beside}

    def model_config(self) -> ModelConfig:
        """Return the facts about a model that is loaded so."""
        facts, spec = self.facts, self.architecture.spec
        return ModelConfig(
            model=self.repository.model,
            identity=ModelIdentity(
                path=str(self.repository.path),
                source=self.repository.source,
                architecture=spec.name,
                implementation=self.implementation,
            ),
            hf_config=self.config,
            max_model_len=self.max_model_len.value,
            dtype=self.dtype.value,
            pooler_config=self.pooler_config,
            tasks=self.tasks,
            embedding=EmbeddingInfo(
                size=self.embedding_size,
                full_size=self.full_embedding_size,
                truncate_dim=None if self.truncate_dim is None else self.truncate_dim.value,
                normalizes=bool(value_of(facts.pooling.normalize)),
                similarity=self.similarity.value,
                sparse=self.sparse,
                max_active_dims=value_of(facts.embedding.max_active_dims),
            ),
            classification=ClassificationInfo(num_labels=self.num_labels, activation=self.classifier_activation.value),
            retrieval=RetrievalInfo(
                late_interaction=self.late_interaction,
                late_similarity=_similarity_of_tokens(facts.embedding.similarity).value,
                query_table=facts.retrieval.query_table,
            ),
            multimodal=MultimodalInfo(modalities=spec.modalities, image_reader=spec.extras.image_processor),
            prompting=PromptInfo(
                prompts=self.prompts,
                default_name=value_of(facts.prompts.default),
                include_prompt=value_of(facts.pooling.include_prompt, default=True),
                adapters=(*named_adapters(self.config, spec.checkpoint.adapters_key), *self.adapters),
                chat_template=None if self.published is None else self.published.chat_template,
                rerank_template=self.rerank_template,
                io_processor_plugin=self.io_processor_plugin,
            ),
        )


def _full_embedding_size(resolution: Resolution) -> int | None:
    """The dimensions of an embedding before any are cut off; None if no file states them."""
    registry, size = resolution.registry, _pooled_size(resolution)
    for module in resolution.facts.modules.after:
        if "embed" in resolution.tasks or not _is_sparse(registry, module):
            size = _size_after(registry, module, size)
    return size


def _makes_sparse(resolution: Resolution) -> bool:
    """True if a module after pooling makes sparse vectors of what is pooled."""
    return any(_is_sparse(resolution.registry, module) for module in resolution.facts.modules.after)


def _size_after(registry: "Registry", module: "ModuleFacts", size: int | None) -> int | None:
    """The dimensions of the vectors that a module makes.

    Args:
        registry: The records of plugins.
        module: The module.
        size: The dimensions of what it takes; None if they are not known.
    """
    entry = registry.modules.find(module.type)
    if entry is not None and entry.spec.size is not None:
        found = entry.load("size")(module.config, size)
    else:
        found = module.config.get("out_features", size)
    return found if isinstance(found, int) else None


def _is_sparse(registry: "Registry", module: "ModuleFacts") -> bool:
    entry = registry.modules.find(module.type)
    return entry is not None and entry.spec.sparse


def _pooled_size(resolution: Resolution) -> int | None:
    """The dimensions of what is pooled."""
    config, output = resolution.config, resolution.architecture.spec.output
    if resolution.late_interaction is not None and resolution.late_interaction.dim is not None:
        return resolution.late_interaction.dim
    if resolution.size_key is not None:
        size = config.get(resolution.size_key)
        return size if isinstance(size, int) else None
    if output.size_keys:
        return next(filter(None, (_size_at(config, key) for key in output.size_keys)), None)
    if output.size_from_num_labels and "embed" in resolution.tasks:
        return resolution.num_labels
    size = next((said for part in (config, config.of_text) for key in WIDTHS if (said := part.get(key))), None)
    for module in resolution.facts.modules.before:
        size = _size_after(resolution.registry, module, size)
    pooling = resolution.pooler.get("seq_pooling_type")
    methods = 1 if pooling is None else len(pooling.value.split(JOINED_BY))
    return size * methods if isinstance(size, int) else None


def _size_at(config: CheckpointConfig, path: str) -> int | None:
    """The number at a place of config.json, such as ``text_config.hidden_size``; None where there is none."""
    value: object = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, CheckpointConfig) else None
    return value if isinstance(value, int) else None


def _similarity_of_texts(stated: Choice | None, *, sparse: bool) -> Choice:
    """How two vectors of texts are compared.

    Args:
        stated: The similarity that the files state; one that is not for such vectors counts as None.
        sparse: True if they are sparse vectors, whose length means something.
    """
    if stated is not None and stated.value in OF_TEXTS:
        return stated
    if sparse:
        return Choice(value="dot", origin="the pooling type")
    return Choice(value="cosine", origin="default")


def _similarity_of_tokens(stated: Choice | None) -> Choice:
    """How the vectors of two texts' tokens are compared, likewise."""
    if stated is not None and stated.value in OF_TOKENS:
        return stated
    return Choice(value="maxsim", origin="default")


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
