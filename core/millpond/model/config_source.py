"""config.json of one model: the choice that it leads to, and the checkpoint formats that read it. No torch here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from millpond.model.layers import Layer, Layers
from millpond.model.options import LoadOptions, Overrides
from millpond.model.repository import Repository, read_format
from millpond.types.config import CheckpointConfig

if TYPE_CHECKING:
    from millpond.model.spec import ChatTemplate, ResolvedModel, TextSettings
    from millpond.model.tokenizer import Tokenizer
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import ArchitectureSpec, ConverterSpec, PublishedModelSpec
    from millpond.types.rerank_template import RerankTemplate


@dataclass(frozen=True, kw_only=True)
class ConfigSource:
    """config.json of one model, and the records that the model is loaded with.

    Attributes:
        repository: The files of the model.
        config: config.json with the caller's overrides and the defaults of the architecture.
        stored: config.json with what records know about the model.
        architecture: The record of the architecture.
        converter: The converter that turns it into a pooling model; None for a native pooling model.
        implementation: The implementation of the architecture, as in ``model_impl``.
        overrides: The caller's overrides.
        published: The record of the published model; None for an unknown model.
        rerank_template: The text for a query and a document, if a record states it for the model; else None.
    """

    repository: Repository
    config: CheckpointConfig
    stored: CheckpointConfig
    architecture: "Entry[ArchitectureSpec]"
    converter: "Entry[ConverterSpec] | None" = None
    implementation: str = "native"
    overrides: Overrides = None
    published: "PublishedModelSpec | None" = None
    rerank_template: "RerankTemplate | None" = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the architecture, or of its converter."""
        return self.architecture.spec.tasks if self.converter is None else self.converter.spec.tasks


class ModelReader(Protocol):
    """Reads the files that describe a whole model; ``CheckpointFormatSpec.reader`` names it: (``Repository``) -> it.

    Each member raises a ``CheckpointError`` if a file is damaged.
    """

    @property
    def config(self) -> CheckpointConfig:
        """config.json, or the config that a checkpoint format states instead."""
        ...

    @property
    def known(self) -> CheckpointConfig:
        """``config`` with what records know about the model."""
        ...

    @property
    def tokenizer_config(self) -> Mapping[str, Any]:
        """The settings of the tokenizer; empty if its file is missing."""
        ...

    @property
    def tokenizer_settings(self) -> Mapping[str, Any]:
        """The padding and the truncation of the tokenizer."""
        ...

    def choose(self, options: LoadOptions, pooling: str | None) -> ConfigSource:
        """Return config.json and the records that the model is loaded with.

        Args:
            options: The caller's options.
            pooling: The requested pooling type, for converters that support only one.

        Raises:
            UnknownNameError: If none of the named architectures is supported, or the converter is unknown.
            InvalidInputError: If an option is invalid.
        """
        ...

    def chat_template(self, *, of_pairs: bool = False) -> "ChatTemplate | None":
        """Return the template of messages, or of a query with a document; None without one."""
        ...

    def tokenizer(self, text: "TextSettings", *, lower_case: bool = False) -> "Tokenizer | None":
        """Load the tokenizer; None without one.

        Args:
            text: The preparation of texts.
            lower_case: True to convert texts to lower case, independent of the files.
        """
        ...

    def image_processor(self) -> tuple[Path, dict[str, Any]]:
        """Return the path and content of the image processor's settings."""
        ...

    def notes(self, model: "ResolvedModel", layers: Layers, options: LoadOptions) -> list[str]:
        """Return notes on what the files lack, or on what they suggest and the model does not do.

        Args:
            model: The resolved model.
            layers: What is stated about it.
            options: The caller's options.
        """
        ...


def read_config(registry: "Registry", source: ConfigSource) -> Iterator[Layer]:
    """Yield the layers that the checkpoint formats read from config.json.

    Raises:
        CheckpointError: If a value is invalid, or not supported.
        ComponentError: If the checkpoint format of a plugin fails.
    """
    for entry in registry.checkpoint_formats.by_priority():
        if entry.spec.reads_config:
            yield from read_format(entry, source)
