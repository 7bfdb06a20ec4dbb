"""The records of sources, of checkpoint formats and of facts about published models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from millpond.plugin.specs.base import Spec
from millpond.types.rerank_template import RerankTemplate


@dataclass(frozen=True, kw_only=True)
class SourceSpec(Spec):
    """A source of models, named by its scheme; target: ``(name, SourceOptions) -> Path | ModelReference | None``.

    Attributes:
        priority: For a name without a scheme, sources are tried in descending order of priority.
    """

    kind: ClassVar[str] = "source"
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class CheckpointFormatSpec(Spec):
    """A format of the files of checkpoints; target: (Repository) -> an iterable of ``Layer``.

    Attributes:
        files: Files relative to the checkpoint's folder, or shell patterns such as ``*/adapter_config.json``; the
            target is called if one of them exists.
        priority: If several formats specify a value, the one with the highest priority is used.
        reads_config: True if the target reads config.json: (``ConfigSource``) -> an iterable of ``Layer``. It is called
            for every model, and its values take precedence over those of other files.
        reader: ``"module:class"`` of a ``ModelReader``, which reads config.json and the other files that describe a
            whole model, and chooses its architecture; that of the format with the highest priority is used.
    """

    kind: ClassVar[str] = "checkpoint_format"
    files: tuple[str, ...] = ()
    priority: int = 0
    reads_config: bool = False
    reader: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModuleSpec(Spec):
    """A module of checkpoints in addition to the model; target: (Context, config, weights) -> ``torch.nn.Module``.

    Attributes:
        places: The possible positions of the module: ``before`` pooling, ``after`` pooling; empty for a module that
            processes neither hidden states nor pooled tensors.
        size: ``"module:function"``: (config, input size or None) -> output size or None; by default ``out_features`` of
            its config, or else the input size.
        sparse: True if the output is a sparse vector of features, of which the largest values are kept.
    """

    kind: ClassVar[str] = "module"
    places: tuple[str, ...] = ("after",)
    size: str | None = None
    sparse: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishedModelSpec(Spec):
    """Facts about a published model, or several similar ones, that their files do not contain. It has no target.

    Attributes:
        name: ``organisation/model`` as published, or a shell pattern. Models are matched by the part after the
            organisation, ignoring case; if several patterns match, the longest is used.
        architecture: The architecture that runs it.
        checkpoint_architecture: The architecture in its config.json, if the facts apply to that one only.
        config: Keys missing from config.json. Keys in config.json and the caller's overrides take precedence, except
            that ``architectures`` replaces the published value.
        chat_template: The Jinja template of its messages, in place of the one in its files; None to use its files.
        rerank_template: The text that the model reads for a query and a document; None for the tokenizer's pair.
        prompts: Prompts by name, such as ``{"query": "query: "}``. Prompts in its files take precedence.
        markers: Sentences of a reranker's chat template, which identify it in a folder of any name.
    """

    kind: ClassVar[str] = "published_model"
    has_slashes: ClassVar[bool] = True
    target: str | object = field(default=None, init=False, repr=False)
    architecture: str
    checkpoint_architecture: str | None = None
    config: Mapping[str, object] = field(default_factory=dict, hash=False)
    chat_template: str | None = None
    rerank_template: RerankTemplate | None = None
    prompts: Mapping[str, str] = field(default_factory=dict, hash=False)
    markers: tuple[str, ...] = ()
