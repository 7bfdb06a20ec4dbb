"""Resolution: the configuration that a repository is loaded with, and the origin of each value. Without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from millpond.loading.classification import count_labels
from millpond.loading.lengths import StatedLength, state_lengths
from millpond.loading.pooler_settings import size_key_of, task_pooling
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

SPARSE_SIZE_KEY = "vocab_size"  # the size key of poolers that return a weight for each token of the vocabulary
HIDDEN_SIZE_KEYS = ("hidden_size", "n_embd", "dim")  # keys of config.json for the size of hidden states
VECTOR_SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
TOKEN_SIMILARITIES = ("maxsim", "meanmaxsim")


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """The configuration that a repository is loaded with, and the origin of each value.

    Attributes:
        repository: The model's folder.
        config: config.json with the caller's overrides.
        architecture: The record of the architecture.
        converter: The record of the converter that turns it into a pooling model; None for a native pooling model.
        implementation: The implementation of the architecture, as in ``model_impl``.
        tasks: The tasks of the model.
        pooler: The pooler settings, each with its origin.
        max_model_len: The maximum number of tokens of a prompt.
        dtype: The requested dtype, or the checkpoint's.
        classifier_activation: The activation of class logits or scores.
        io_processor_plugin: The name of the IO processor of the task "plugin"; None without one.
        late_interaction: The settings of queries and documents; None if the files do not specify any.
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

    @cached_property
    def num_labels(self) -> int:
        """The number of classes or scores."""
        return self.architecture.spec.output.num_labels or count_labels(self.config, self.facts)

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
        """The template that formats a query and a document; None if the tokenizer encodes them as a pair."""
        return rerank_template(self.registry, self.repository, self.config)

    @property
    def lengths(self) -> tuple[StatedLength, ...]:
        """Every maximum length that the files state."""
        return tuple(state_lengths(self.repository, self.config, positions=self.architecture.spec.text.positions))

    @cached_property
    def size_key(self) -> str | None:
        """The key of config.json that states the output size of the pooler; None for the hidden size."""
        return size_key_of(self.registry, self.pooler)

    @cached_property
    def facts(self) -> CheckpointFacts:
        """The facts from all files except config.json."""
        return self.repository.facts

    @property
    def pooler_config(self) -> PoolerConfig:
        """The pooler settings as a PoolerConfig."""
        return PoolerConfig(**{name: choice.value for name, choice in self.pooler.items()})

    def pooling(self, task: str) -> Choice:
        """Return the pooling type of a task, with its origin."""
        return task_pooling(self.registry, self.pooler, task)

    @property
    def task_pooling(self) -> dict[str, str]:
        """The pooling types of tasks whose own pooling precedes that of ``pooler_config``."""
        settings, tasks = self.pooler_config, self.registry.tasks
        poolings = {task: self.pooling(task).value for task in self.tasks}
        specified = {task: getattr(settings, tasks.get(task).spec.pooling_key) for task in poolings}
        return {task: name for task, name in poolings.items() if specified[task] not in (None, name)}

    @property
    def prompts(self) -> dict[str, str]:
        """The named prompts."""
        return named_prompts(self.config, self.facts, self.published)

    @cached_property
    def truncate_dim(self) -> Choice | None:
        """The default number of dimensions that embeddings are truncated to, from the files; None for no truncation."""
        return None if "embed" not in self.tasks or self.sparse is not None else self.facts.embedding.truncate_dim

    @property
    def embedding_size(self) -> int | None:
        """The default number of dimensions of an embedding, after truncation to ``truncate_dim``; None if unknown."""
        size, truncated = self.full_embedding_size, self.truncate_dim
        if truncated is None or "dimensions" in self.pooler:
            return size
        limit = int(truncated.value)
        return limit if size is None else min(size, limit)

    @cached_property
    def full_embedding_size(self) -> int | None:
        """The dimensions before truncation: those of the last module, else of the pooler or the token vectors."""
        return _full_embedding_size(self)

    @property
    def similarity(self) -> Choice:
        """The similarity function of two embeddings, with its origin."""
        return _vector_similarity(self.facts.embedding.similarity, sparse=self.sparse is not None)

    @cached_property
    def sparse(self) -> str | None:
        """The kind of sparse embeddings, "features" or "tokens", as in ``ModelConfig``; None for dense embeddings."""
        if _makes_sparse(self) and "embed" in self.tasks:
            return "features"
        return "tokens" if self.size_key == SPARSE_SIZE_KEY else None

    @property
    def adapters(self) -> Mapping[str, AdapterFacts]:
        """The adapters in the model's folder, by name; empty if the architecture does not support adapters."""
        names, folder = self.architecture.spec.checkpoint.adapter_folders, self.repository.transformer_path
        adapters = [adapter for adapter in self.facts.adapters if adapter.folder.parent == folder]
        return {} if names is None else {names.get(it.folder.name, it.folder.name): it for it in adapters}

    def model_config(self) -> ModelConfig:
        """Return the ModelConfig of a model that is loaded with this resolution."""
        facts, spec = self.facts, self.architecture.spec
        return ModelConfig(
            identity=ModelIdentity(
                model=self.repository.model,
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
            task_pooling=self.task_pooling,
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
                late_similarity=_token_similarity(facts.embedding.similarity).value,
                static_query_weights=facts.retrieval.static_query_weights,
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
    """The dimensions of an embedding before truncation; None if no file states them."""
    registry, size = resolution.registry, _pooled_size(resolution)
    for module in resolution.facts.modules.after:
        if "embed" in resolution.tasks or not _is_sparse(registry, module):
            size = _size_after(registry, module, size)
    return size


def _makes_sparse(resolution: Resolution) -> bool:
    """True if a module after pooling turns pooled vectors into sparse vectors."""
    return any(_is_sparse(resolution.registry, module) for module in resolution.facts.modules.after)


def _size_after(registry: "Registry", module: "ModuleFacts", size: int | None) -> int | None:
    """The number of dimensions that a module returns; None if unknown.

    Args:
        registry: The records of plugins.
        module: The module.
        size: The number of dimensions of its input; None if unknown.
    """
    entry = registry.modules.find(module.type)
    if entry is not None and entry.spec.size is not None:
        new_size = entry.load("size")(module.config, size)
    else:
        new_size = module.config.get("out_features", size)
    return new_size if isinstance(new_size, int) else None


def _is_sparse(registry: "Registry", module: "ModuleFacts") -> bool:
    entry = registry.modules.find(module.type)
    return entry is not None and entry.spec.sparse


def _pooled_size(resolution: Resolution) -> int | None:
    """The number of dimensions of pooled vectors; None if unknown."""
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
    parts = (config, config.of_text)
    size = next((value for part in parts for key in HIDDEN_SIZE_KEYS if (value := part.get(key))), None)
    for module in resolution.facts.modules.before:
        size = _size_after(resolution.registry, module, size)
    pooling = resolution.pooler.get("seq_pooling_type")
    methods = 1 if pooling is None else len(pooling.value.split(JOINED_BY))
    return size * methods if isinstance(size, int) else None


def _size_at(config: CheckpointConfig, path: str) -> int | None:
    """The integer at a dotted path of config.json, such as ``text_config.hidden_size``; None if it is missing."""
    value: object = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, CheckpointConfig) else None
    return value if isinstance(value, int) else None


def _vector_similarity(stated: Choice | None, *, sparse: bool) -> Choice:
    """The similarity function of two vectors.

    Args:
        stated: The similarity that the files state; one for token vectors is ignored.
        sparse: True for sparse vectors, whose length is meaningful: they are compared by the dot product.
    """
    if stated is not None and stated.value in VECTOR_SIMILARITIES:
        return stated
    if sparse:
        return Choice(value="dot", origin="the pooling type")
    return Choice(value="cosine", origin="default")


def _token_similarity(stated: Choice | None) -> Choice:
    """The similarity function of two texts with one vector per token; see ``_vector_similarity``."""
    if stated is not None and stated.value in TOKEN_SIMILARITIES:
        return stated
    return Choice(value="maxsim", origin="default")


def named_prompts(
    config: CheckpointConfig, facts: CheckpointFacts, published: "PublishedModelSpec | None"
) -> dict[str, str]:
    """Return the named prompts: ``task_instructions`` of config.json > the other files > published model."""
    stated = config.get("task_instructions")
    instructions = stated if isinstance(stated, CheckpointConfig) else {}
    known = {} if published is None else published.prompts
    from_files = value_of(facts.prompts.named, {})
    return {**known, **from_files, **{name: text for name, text in instructions.items() if isinstance(text, str)}}


def named_adapters(config: CheckpointConfig, key: str | None) -> tuple[str, ...]:
    """Return the names of the adapters that config.json lists under an architecture's key."""
    names = None if key is None else config.get(key)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
