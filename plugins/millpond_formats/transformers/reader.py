"""The files that describe a whole model in transformers: config.json, tokenizers, chat templates, image processors."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.model.config_source import ConfigSource
from millpond.model.files import list_files, read_object
from millpond.model.options import override_config
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_formats.transformers.architecture import (
    choose_architecture,
    stated_architecture,
    with_architecture,
    with_extra_heads,
)
from millpond_formats.transformers.chat_template import read_chat_template
from millpond_formats.transformers.notes import notes_on_files
from millpond_formats.transformers.published import (
    published_model,
    rerank_template,
    with_known,
    without_conflicting_tokens,
)

if TYPE_CHECKING:
    from millpond.model.layers import Layers
    from millpond.model.options import LoadOptions
    from millpond.model.repository import Repository
    from millpond.model.spec import ChatTemplate, ResolvedModel, TextSettings
    from millpond.model.tokenizer import Tokenizer
    from millpond.plugin.specs import PublishedModelSpec

CONFIG_PATH = "hf_config"
TOKENIZER_FILE = "tokenizer.json"
IMAGE_PROCESSOR_FILE, PROCESSOR_FILE = "preprocessor_config.json", "processor_config.json"


class TransformersReader:
    """Reads the files of one repository; see ``ModelReader``."""

    def __init__(self, repository: "Repository") -> None:
        self.repository = repository
        self.folder = repository.transformer_path

    @cached_property
    def config(self) -> CheckpointConfig:
        """config.json, or the config that a checkpoint format states instead."""
        stated = self.repository.layers.get("files.config")
        if stated is not None:
            return CheckpointConfig(stated)
        path = self.folder / "config.json"
        if not path.exists():
            contents = list_files(self.repository.path)
            message = f"{self.repository.path} has no config.json, so it is not a model folder; it contains: {contents}"
            raise CheckpointError(message)
        try:
            return CheckpointConfig(read_object(path))
        except RecursionError as error:
            message = f"{path} is nested too deeply to be a model's config"
            raise CheckpointError(message) from error

    @cached_property
    def known(self) -> CheckpointConfig:
        """``config`` with what records know about the model."""
        return with_known(self.repository, self.published)

    @cached_property
    def tokenizer_config(self) -> Mapping[str, Any]:
        """tokenizer_config.json; empty if it is missing."""
        return read_object(self.folder / "tokenizer_config.json")

    @cached_property
    def tokenizer_settings(self) -> Mapping[str, Any]:
        """The padding and the truncation in tokenizer.json, which models ignore; its vocabulary takes long to read."""
        contents = read_object(self.folder / TOKENIZER_FILE)
        return {key: contents.get(key) for key in ("padding", "truncation")}

    @cached_property
    def published(self) -> "PublishedModelSpec | None":
        """The record of the published model; None for an unknown model."""
        return published_model(self.repository)

    def choose(self, options: "LoadOptions", pooling: str | None) -> ConfigSource:
        """Return config.json and the architecture that it names."""
        registry, files = self.repository.registry, self.repository.layers
        stored = self._stored(allow_pickle=options.allow_pickle)
        config = without_conflicting_tokens(stored, override_config(stored, options.hf_overrides))
        match = stated_architecture(registry, config, files) or choose_architecture(
            registry,
            config,
            options.convert,
            pooling=pooling,
            classifies=files.get("files.task") == "classify",
            implementation=options.model_impl,
        )
        defaults = match.architecture.spec.checkpoint.config_defaults
        return ConfigSource(
            repository=self.repository,
            config=with_defaults(config, defaults) if defaults else config,
            stored=stored,
            **match._asdict(),
            overrides=options.hf_overrides,
            published=self.published,
            rerank_template=rerank_template(self.repository, config),
        )

    def chat_template(self, *, of_pairs: bool = False) -> "ChatTemplate | None":
        """Return the template of messages, or of a query with a document."""
        return read_chat_template(self.repository, of_pairs=of_pairs)

    def tokenizer(self, text: "TextSettings", *, lower_case: bool = False) -> "Tokenizer | None":
        """Load the tokenizer; None without one."""
        from millpond_formats.transformers.tokenizer_file import load_tokenizer  # noqa: PLC0415  inspect does not need it

        return load_tokenizer(self.repository, text, lower_case=lower_case)

    def image_processor(self) -> tuple[Path, dict[str, Any]]:
        """Return the path and content of the image processor's settings.

        Like in transformers, processor_config.json takes precedence over preprocessor_config.json.
        """
        inner = read_object(self.folder / PROCESSOR_FILE).get("image_processor")
        if isinstance(inner, dict) and inner:
            return self.folder / PROCESSOR_FILE, inner
        return self.folder / IMAGE_PROCESSOR_FILE, read_object(self.folder / IMAGE_PROCESSOR_FILE)

    def notes(self, model: "ResolvedModel", layers: "Layers", options: "LoadOptions") -> list[str]:
        """Return notes on a missing chat template, and on a language model that scores texts by their embeddings."""
        return notes_on_files(self, model, layers, options)

    def _stored(self, *, allow_pickle: bool) -> CheckpointConfig:
        """config.json with what records know about the model; a config that takes precedence contains that."""
        stated = self.repository.layers.get(CONFIG_PATH)
        if stated is not None:
            return CheckpointConfig(stated)
        named = with_architecture(self.repository.registry, self.known)
        return with_extra_heads(self.repository, named, allow_pickle=allow_pickle)


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
