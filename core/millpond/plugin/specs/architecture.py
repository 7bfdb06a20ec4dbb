"""The record of a model architecture, and the groups of its fields."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from millpond.plugin.specs.base import Spec, check_tuples


@dataclass(frozen=True)
class PoolingDefaults:
    """The pooling of hidden states if neither the user nor the checkpoint specifies it.

    Attributes:
        type: The pooling type of tasks with one result per prompt, such as ``MEAN``.
        tok_type: The pooling type of tasks with one result per token, such as ``STEP``.
        step_tag_id: The token id that ends a step, for ``STEP``.
        config_key: The key of config.json that names the pooling type (``avg``, ``cls``, ``last``), also of converted
            models.
        settings: Other fields of ``PoolerConfig``, such as ``{"use_activation": False}``.
    """

    type: str | None = None
    _: KW_ONLY
    tok_type: str | None = None
    step_tag_id: int | None = None
    config_key: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict, hash=False)

    def pooler_config(self) -> dict[str, object]:
        """Return the fields of ``PoolerConfig`` that are set, without the pooling type of prompts."""
        fields = {"tok_pooling_type": self.tok_type, "step_tag_id": self.step_tag_id}
        return {**{name: value for name, value in fields.items() if value is not None}, **self.settings}


@dataclass(frozen=True, kw_only=True)
class OutputShape:
    """The size and the meaning of the results.

    Attributes:
        size_keys: Keys of config.json for the embedding size, such as ``("projection_dim",)``; the first one with a
            number is used. ``text_config.hidden_size`` is a key in a part of config.json.
        num_labels: The number of classes or scores; takes precedence over config.json. None for that of config.json.
        size_from_num_labels: True if the embedding size equals the number of labels.
        activation: The activation of classes or scores, such as ``sigmoid`` or ``identity``; takes precedence over the
            checkpoint, but not over the caller's ``hf_overrides``. None for that of the checkpoint.
        token_weights: True if ``token_classify`` returns the weight of each token in a sparse vector, without special
            tokens, [num_tokens]; ``embed_sparse`` is computed from it.
    """

    size_keys: tuple[str, ...] = ()
    num_labels: int | None = None
    size_from_num_labels: bool = False
    activation: str | None = None
    token_weights: bool = False

    def __post_init__(self) -> None:
        """Refuse text in place of a tuple."""
        check_tuples(self)


@dataclass(frozen=True, kw_only=True)
class TextInput:
    """The treatment of text.

    Attributes:
        positions: ``absolute`` for a table of position embeddings, which limits the length of a text;
            ``absolute_after_pad`` if the table starts after the padding id, like RoBERTa's; otherwise ``relative``.
        pad_to_max_length: True if texts are padded to the model's maximum length and the padding is read like other
            tokens, as in training.
        lowercase: True if texts are lower-cased, as in training, although tokenizer.json does not specify it.
        steps: The text steps of plugins that texts pass, unless the files or the user name others.
    """

    positions: str = "relative"
    pad_to_max_length: bool = False
    lowercase: bool = False
    steps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse text in place of a tuple."""
        check_tuples(self)


@dataclass(frozen=True, kw_only=True)
class CheckpointLayout:
    """The files of a checkpoint and their defaults.

    Attributes:
        config_defaults: Default values for keys missing from config.json, such as
            ``{"text_config": {"hidden_size": 512}}``.
        extra_files: Other files with weights, without suffix, such as ``("sparse_linear",)``. The names of their
            tensors get the name of the file as a prefix.
        supersedes: Architectures in config.json that this one replaces when all ``extra_files`` exist.
        adapters_key: The key of config.json that lists the adapters from which each request can choose one; the model
            reads the choice in ``batch.adapters``.
        adapter_folders: Set if subfolders contain PEFT adapters from which each request can choose one: maps the names
            of folders to adapter names that differ from them. The model receives the adapters in ``load_adapters``.
            None if folders are not read.
    """

    config_defaults: Mapping[str, object] = field(default_factory=dict, hash=False)
    extra_files: tuple[str, ...] = ()
    supersedes: tuple[str, ...] = ()
    adapters_key: str | None = None
    adapter_folders: Mapping[str, str] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        """Refuse text in place of a tuple."""
        check_tuples(self)


@dataclass(frozen=True, kw_only=True)
class ModelExtras:
    """Functions and classes that few architectures need.

    Attributes:
        image_processor: ``"module:attribute"`` of the ``ImageReader`` of a model that reads texts with images in them;
            None for a model that reads only text, or texts and images separately.
        late_interaction: ``"module:function"`` that reads the encoding of queries and documents:
            ``(ModelLayers) -> LateInteraction``; None if only the checkpoint's files specify it.
        tiny: ``"module:function"`` that writes a small random checkpoint for tests: ``(architecture, folder,
            **options) -> folder``. See ``millpond.testing.checkpoints.tiny``.
    """

    image_processor: str | None = None
    late_interaction: str | None = None
    tiny: str | None = None


@dataclass(frozen=True, kw_only=True)
class ArchitectureSpec(Spec):
    """A model architecture, named as in ``architectures`` of config.json; its target is a ``PoolingModel``.

    Attributes:
        tasks: The tasks it serves without conversion.
        modalities: The inputs it reads: ``text``, ``image``; for a model whose IO processor creates its whole input,
            ``features`` or any other name, such as ``series``.
        pooling: The default pooling of hidden states.
        output: The size and the meaning of the results.
        text: The treatment of text.
        checkpoint: The files of a checkpoint and their defaults.
        extras: Functions and classes that few architectures need.
    """

    kind: ClassVar[str] = "architecture"
    tasks: tuple[str, ...]
    modalities: tuple[str, ...] = ("text",)
    pooling: PoolingDefaults = PoolingDefaults()
    output: OutputShape = OutputShape()
    text: TextInput = TextInput()
    checkpoint: CheckpointLayout = CheckpointLayout()
    extras: ModelExtras = ModelExtras()


@dataclass(frozen=True, kw_only=True)
class FallbackSpec(Spec):
    """An implementation of many architectures; target: (name in config.json, config) -> ``ArchitectureSpec`` or text.

    The target describes the named architecture for this config; a text states why it cannot run it.

    Attributes:
        patterns: Shell patterns of architecture names. The fallback with the longest matching pattern is tried first.
        implementation: Its name in ``model_impl``, by which users choose it over the native implementation.
        tasks: The tasks of its architectures, for listings.
    """

    kind: ClassVar[str] = "fallback"
    patterns: tuple[str, ...]
    implementation: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConverterSpec(Spec):
    """A conversion of other models into pooling models; target: (model class, Context) -> model class.

    Attributes:
        architectures: Shell patterns of architecture names; the converter with the longest matching pattern is used.
        tasks: The tasks of the converted model.
        pooling: The pooling types that select this converter before others; "" if neither the user nor the model's
            files specify one. Empty for any.
    """

    kind: ClassVar[str] = "converter"
    architectures: tuple[str, ...]
    tasks: tuple[str, ...]
    pooling: tuple[str, ...] = ()
