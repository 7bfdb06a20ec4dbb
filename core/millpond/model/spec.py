"""ResolvedModel: the settings that decide how a model runs, as plain data."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from millpond.types.config import CheckpointConfig, PoolerConfig
from millpond.types.late_interaction import LateInteraction
from millpond.types.rerank_template import RerankTemplate

PART_MARKERS = ("content[0]", ".type", "'type'", '"type"', "message.content[")  # in templates that read lists of parts


@dataclass(frozen=True, kw_only=True)
class ModuleSettings:
    """A module that a checkpoint lists in addition to its model, such as a Dense module after pooling.

    Attributes:
        type: The name of its ``ModuleSpec``, such as ``Dense``.
        path: The folder of its files.
        config: The content of its config file.
    """

    type: str
    path: Path
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModuleChain:
    """The modules of a checkpoint, in order.

    Attributes:
        listed: All modules in the files, including the model itself and pooling.
        before: The modules between the model and pooling.
        after: The modules after pooling, without a final normalization, which is ``embedding.normalizes``.
    """

    listed: tuple[ModuleSettings, ...] = ()
    before: tuple[ModuleSettings, ...] = ()
    after: tuple[ModuleSettings, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RouteSettings:
    """Separate routes of queries and documents through the modules.

    Attributes:
        by_input_type: The routes of "query", "document" and None (no input type); empty if all texts share one route.
        main: The route of the model itself.
        origin: The file that specifies them.
        target: ``"module:function"`` that builds the model of all routes: (``LoadedModel`` of the main route,
            ``Arguments`` of ``LLM``, with_weights=True to load weights) -> ``LoadedModel``.
    """

    by_input_type: Mapping[str | None, str] = field(default_factory=dict)
    main: str = ""
    origin: str = ""
    target: str = ""

    def __post_init__(self) -> None:
        """Refuse routes that no function combines."""
        if self.by_input_type and not self.target:
            raise ValueError("RouteSettings with by_input_type requires target, the function that combines the routes")


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A Jinja template that renders messages.

    Attributes:
        text: The template.
        settings: Variables that it is rendered with, such as ``add_generation_prompt``.
        texts_as: The format of the message that a plain text is wrapped in, "flat" or "structured"; None if plain
            texts are not wrapped in messages.
    """

    text: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    texts_as: str | None = None

    @property
    def reads_parts(self) -> bool:
        """True if the template reads the content of a message as a list of parts."""
        return any(marker in self.text for marker in PART_MARKERS)


@dataclass(frozen=True, kw_only=True)
class AdapterFiles:
    """An adapter in a separate folder of the checkpoint.

    Attributes:
        folder: The folder.
        read: Returns the matrices ``up`` and ``down`` for each weight; their product is added to the weight. The keys
            are the names of the weights in the checkpoint, without ``.weight``.
    """

    folder: Path
    read: Callable[[], Mapping[str, tuple[Any, Any]]]


@dataclass(frozen=True)
class StatedLength:
    """The maximum length that one file states.

    Attributes:
        value: The maximum in tokens.
        file: The file.
        key: The key in the file.
        role: How it applies: "format" before all others; "config", "limit" always; "tokenizer" for absolute positions;
            "table" also as the size of a position table; "trained" unless the caller requests more.
    """

    value: int
    file: str
    key: str
    role: str = "config"

    def __str__(self) -> str:
        return f"{self.file} ({self.key})" if self.key else self.file


@dataclass(frozen=True, kw_only=True)
class FileSettings:
    """The files of a checkpoint, and the values that rules combine with those of config.json.

    Attributes:
        folder: The folder of config.json and the weights, if it is not the folder of the checkpoint.
        config: The content for config.json, if the file is missing or does not describe the model.
        known: Values for keys missing from config.json; ``architectures`` replaces the value in the file.
        task: The task of the checkpoint, such as "classify".
        max_length: The maximum number of tokens; takes precedence over ``lengths``.
        lengths: The maximum lengths in config.json and the tokenizer's files.
        hidden_size: The size of hidden states.
        tokenizer_limits_length: True if ``model_max_length`` of the tokenizer limits the length for all types of
            positions.
        routes: The routes of queries and documents.
        adapters: Adapters in separate folders.
    """

    folder: Path | None = None
    config: Mapping[str, Any] | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = None
    max_length: int | None = None
    lengths: tuple[StatedLength, ...] = ()
    hidden_size: int | None = None
    tokenizer_limits_length: bool = False
    routes: RouteSettings = field(default_factory=RouteSettings)
    adapters: tuple[AdapterFiles, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """The origin of a model and of its implementation.

    Attributes:
        model: The name that the caller used.
        path: The local folder of its files.
        source: The source that found the folder.
        architecture: The name of the architecture that serves it.
        implementation: "native", or the library of the implementation, such as "transformers".
        converter: The name of the converter that turns it into a pooling model; None for a native pooling model.
    """

    model: str
    path: str
    source: str
    architecture: str
    implementation: str = "native"
    converter: str | None = None


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """The preparation of texts.

    Attributes:
        lower_case: True if texts are converted to lower case.
        special_tokens: False if the tokenizer adds no special tokens.
        message_format: The format in which the chat template receives each text: "flat", "structured" or "auto"; None
            if the chat template is not used for texts.
        template_settings: Variables for the chat template.
        token_roles: The special tokens by role, such as ``{"pad_token": "[PAD]"}``.
        token_type_ids: True if the two texts of a pair are distinguished by ``token_type_ids``.
        padding_side: The side of padding tokens, "right" or "left"; None for that of the tokenizer.
        truncation_side: The default side from which tokens are removed; None for that of the tokenizer.
        normalizer: Options of the tokenizer's normalizer, such as ``{"lowercase": True}``.
        steps: The text steps of plugins that the model uses, by name.
    """

    lower_case: bool = False
    special_tokens: bool = True
    message_format: str | None = None
    template_settings: Mapping[str, Any] = field(default_factory=dict)
    token_roles: Mapping[str, str] = field(default_factory=dict)
    token_type_ids: bool = False
    padding_side: Literal["left", "right"] | None = None
    truncation_side: Literal["left", "right"] | None = None
    normalizer: Mapping[str, bool] = field(default_factory=dict)
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """The embeddings of a model.

    Attributes:
        size: The default number of dimensions; None if config.json does not state it.
        full_size: The number of dimensions before any are cut off by default.
        truncate_dim: The number of dimensions that are kept by default; None for all.
        is_matryoshka: True if embeddings may be truncated, False if not; None if ``truncate_dim`` decides it.
        matryoshka_dimensions: The numbers of dimensions that the model was trained for; empty for any.
        normalizes: True if the checkpoint states that embeddings are divided by their length.
        similarity: The comparison of two embeddings: "cosine", "dot", or the negated distance "euclidean" or
            "manhattan".
        sparse: The meaning of the dimensions of sparse embeddings: "tokens" of the vocabulary, or "features", which
            have numbers and no names; None for dense embeddings.
        max_active_dims: The default maximum number of weights of a sparse embedding; None for no maximum.
    """

    size: int | None = None
    full_size: int | None = None
    truncate_dim: int | None = None
    is_matryoshka: bool | None = None
    matryoshka_dimensions: tuple[int, ...] = ()
    normalizes: bool = False
    similarity: Literal["cosine", "dot", "euclidean", "manhattan"] = "cosine"
    sparse: Literal["tokens", "features"] | None = None
    max_active_dims: int | None = None


@dataclass(frozen=True, kw_only=True)
class ClassificationSettings:
    """The classes or scores of a model.

    Attributes:
        num_labels: The number of classes or scores.
        labels: The names of the classes; empty if the files do not name them.
        activation: The name of their activation.
    """

    num_labels: int = 0
    labels: tuple[str, ...] = ()
    activation: str = "softmax"


@dataclass(frozen=True, kw_only=True)
class RetrievalSettings:
    """The differences between queries and documents.

    Attributes:
        late_interaction: The encoding of queries and documents of a late-interaction model; None for others.
        late_similarity: The comparison of their vectors: "maxsim", or "meanmaxsim" for MaxSim divided by the number of
            the query's vectors.
        static_query_weights: The module with one weight per token that embeds queries without the model; None for none.
        routes: The input types, "query" or "document", with a separate route; empty if all texts take the same route.
    """

    late_interaction: LateInteraction | None = None
    late_similarity: Literal["maxsim", "meanmaxsim"] = "maxsim"
    static_query_weights: ModuleSettings | None = None
    routes: tuple[str, ...] = ()

    @property
    def has_input_types(self) -> bool:
        """True if the model reads queries and documents in different ways."""
        return self.late_interaction is not None or self.static_query_weights is not None or bool(self.routes)


@dataclass(frozen=True, kw_only=True)
class MultimodalSettings:
    """The inputs of a model in addition to text.

    Attributes:
        modalities: The kinds of inputs, such as ``("text", "image")``.
        image_reader: The import string of the ``ImageReader`` of a model that reads texts with images in them; None for
            others.
    """

    modalities: tuple[str, ...] = ("text",)
    image_reader: str | None = None


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """The texts around the text of a prompt.

    Attributes:
        prompts: The named prompts of the checkpoint.
        default_name: The name of its default prompt.
        include_prompt: True if the tokens of a prompt are pooled with those of the text.
        adapters: The names of the adapters of which each request may choose one.
        chat_template: The Jinja template of messages, if a plugin knows it better than the files; else None.
        rerank_template: The text for a query and a document, if a plugin knows it; else None.
        io_processor_plugin: The name of the IO processor of the task "plugin"; None for none.
    """

    prompts: Mapping[str, str] = field(default_factory=dict)
    default_name: str | None = None
    include_prompt: bool = True
    adapters: tuple[str, ...] = ()
    chat_template: str | None = None
    rerank_template: RerankTemplate | None = None
    io_processor_plugin: str | None = None


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """The settings that decide how a model runs. ``LLM.model_config`` has the attributes of vLLM's ``ResolvedModel``.

    Attributes:
        identity: The name, the folder, the source and the architecture.
        hf_config: config.json with the caller's overrides.
        max_model_len: The maximum number of tokens of a prompt.
        dtype: The name of the dtype it computes in.
        pooler_config: The pooling of hidden states.
        tasks: The tasks it serves.
        pooling_types: The pooling type of each task; several that are concatenated are joined by "+".
        modules: The modules before and after pooling.
        text: The preparation of texts.
        embedding: The size and kind of its embeddings.
        classification: The number and activation of its classes or scores.
        retrieval: The differences between queries and documents.
        multimodal: The inputs beside text.
        prompting: The named prompts, adapters and templates.
    """

    identity: ModelIdentity
    hf_config: CheckpointConfig
    max_model_len: int
    dtype: str
    pooler_config: PoolerConfig
    tasks: tuple[str, ...]
    pooling_types: Mapping[str, str] = field(default_factory=dict)
    modules: ModuleChain = field(default_factory=ModuleChain)
    text: TextSettings = field(default_factory=TextSettings)
    embedding: EmbeddingSettings = field(default_factory=EmbeddingSettings)
    classification: ClassificationSettings = field(default_factory=ClassificationSettings)
    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)
    multimodal: MultimodalSettings = field(default_factory=MultimodalSettings)
    prompting: PromptSettings = field(default_factory=PromptSettings)

    @property
    def digest(self) -> str:
        """A SHA-256 of all settings except the dtype, in hexadecimal; independent of the place of the files."""
        folder = Path(self.identity.path)
        identity = replace(self.identity, model="", path="", source="")
        settings = asdict(replace(self, identity=identity, dtype="", hf_config=CheckpointConfig({})))
        settings |= {"hf_config": self.hf_config.to_dict(), "pooler_config": self.pooler_config.model_dump(mode="json")}

        def plain(value: object) -> str:
            if isinstance(value, Path) and value.is_relative_to(folder):
                return value.relative_to(folder).as_posix()
            return repr(value)

        return hashlib.sha256(json.dumps(settings, sort_keys=True, default=plain).encode()).hexdigest()

    @property
    def model(self) -> str:
        """The name that the caller used."""
        return self.identity.model

    @property
    def runner_type(self) -> str:
        """``pooling``: no model generates text."""
        return "pooling"

    @property
    def served_model_name(self) -> str:
        """The name that the caller used."""
        return self.model

    @property
    def architecture(self) -> str:
        """The name of the architecture that serves the model."""
        return self.identity.architecture

    @property
    def architectures(self) -> list[str]:
        """The architectures in config.json, and the one that serves the model."""
        return list(dict.fromkeys((*(self.hf_config.get("architectures") or ()), self.architecture)))

    @property
    def embedding_size(self) -> int | None:
        """The default number of dimensions of an embedding; None if config.json does not state it."""
        return self.embedding.size

    @property
    def io_processor_plugin(self) -> str | None:
        """The name of the IO processor of the task "plugin"; None for none."""
        return self.prompting.io_processor_plugin

    @property
    def is_multimodal_model(self) -> bool:
        """True if the model has other inputs than text."""
        return self.multimodal.modalities != ("text",)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes in the files, or LABEL_0 ... like transformers."""
        number, names = self.classification.num_labels, self.classification.labels
        return names if len(names) == number else tuple(f"LABEL_{label}" for label in range(number))

    @property
    def is_matryoshka(self) -> bool:
        """True if embeddings may be truncated; the value in the files takes precedence."""
        stated, truncates = self.embedding.is_matryoshka, self.embedding.truncate_dim is not None
        return truncates if stated is None else stated

    @property
    def matryoshka_dimensions(self) -> tuple[int, ...]:
        """The numbers of dimensions that the model was trained for; empty for any."""
        return self.embedding.matryoshka_dimensions
