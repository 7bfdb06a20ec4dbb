"""Choice of the architecture record and converter for a config.json, with fallbacks to related architectures."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from millpond.model.files import extra_file
from millpond.model.layers import Layers
from millpond.model.options import REWARD
from millpond.plugin.blame import blamed_plugin
from millpond.plugin.registry import Entry
from millpond.plugin.specs import ArchitectureSpec
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError, InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    from millpond.model.repository import Repository
    from millpond.plugin.registry import Registry
    from millpond.plugin.specs import ConverterSpec, FallbackSpec

# Suffixes that follow the family name: "ForCausalLM" in "Qwen3ForCausalLM".
SUFFIXES = (
    "ForCausalLM",
    "ForConditionalGeneration",
    "ForMaskedLM",
    "ForTextEncoding",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForAudioClassification",
    "ForImageClassification",
    "ForVideoClassification",
    "ForRewardModeling",
    "ForRewardModel",
    "ClassificationModel",
    "EmbeddingModel",
    "RewardModel",
    "LMHeadModel",
    "ChatModel",
    "Model",
)
MEDIA_CLASSIFIERS = ("ForAudioClassification", "ForImageClassification", "ForVideoClassification")
BACKBONES = ("Model", "ForCausalLM", "ForConditionalGeneration")
GENERATING = ("ForCausalLM", "ForConditionalGeneration", "ForMaskedLM", "LMHeadModel", "ChatModel")
PICKLE_SUFFIX = ".pt"  # of extra weight files in pickle format
logger = logging.getLogger(__name__)
GROUP = "identity"  # states the architecture
AUTO, NATIVE = "auto", "native"
SYNONYMS = {"vllm": NATIVE, "millpond": NATIVE}


class ArchitectureMatch(NamedTuple):
    """The architecture, converter and implementation that a model is loaded with.

    Attributes:
        architecture: The matching record: the one of that name, or the one of the family's backbone.
        converter: The converter that turns it into a pooling model; None for a native pooling model.
        implementation: The implementation, as in ``model_impl``.
    """

    architecture: Entry[ArchitectureSpec]
    converter: "Entry[ConverterSpec] | None"
    implementation: str = NATIVE


def with_architecture(registry: "Registry", config: CheckpointConfig) -> CheckpointConfig:
    """Return config.json, with ``architectures`` derived from ``model_type`` if it is missing.

    Some published config files have only ``model_type``, such as those of DeBERTa and of BERT's smallest models.
    """
    model_type = config.get("model_type")
    if config.get("architectures") or not isinstance(model_type, str):
        return config
    backbone = f"{model_type}Model".replace("-", "").replace("_", "").lower()
    names = [name for name in registry.architectures.names() if name.lower() == backbone]
    return config.overridden({"architectures": names}) if names else config


def choose_architecture(
    registry: "Registry",
    config: CheckpointConfig,
    convert: str,
    *,
    pooling: str | None = None,
    classifies: bool = False,
    implementation: str = "auto",
) -> ArchitectureMatch:
    """Choose the architecture for a config, and the converter it needs.

    Args:
        registry: The records of all plugins.
        config: config.json with the overrides.
        convert: The name of a converter; "auto" chooses one if needed, "none" uses none.
        pooling: The requested pooling type, for converters that support only one.
        classifies: True if other files of the model state that it is a classifier, such as those of a CrossEncoder.
        implementation: The requested implementation; "auto" prefers a native record and uses a fallback otherwise.

    Raises:
        CheckpointError: If config.json names no architecture.
        UnknownNameError: If none of the named architectures is supported, or the converter is unknown.
        InvalidInputError: If the implementation is unknown.
    """
    names = config.get("architectures")
    available = ", ".join(registry.architectures.names()) or "none"
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        message = (
            f"config.json needs a list 'architectures', which states what the model is; got {names!r}. "
            f"Set it with hf_overrides={{'architectures': [...]}}. Available: {available}"
        )
        raise CheckpointError(message)
    requested = _checked_implementation(registry, implementation)
    search = _Search(registry, config, convert, pooling, classifies=classifies, implementation=requested)
    match = search.by_name(names) or search.by_fallback(names)
    if match is not None:
        return match
    hint = (
        "Install a plugin whose register_architectures yields that name (`millpond plugins list` shows installed "
        "plugins and load failures), or choose another architecture with hf_overrides={'architectures': [...]}"
    )
    if requested != "auto":
        hint += f". model_impl={implementation!r} was requested: 'auto' allows every implementation"
    reasons = f"; {'; '.join(search.reasons)}" if search.reasons else ""
    raise UnknownNameError(
        f"Unknown architecture {' or '.join(map(repr, names))}. Available: {available}{reasons}. {hint}"
    )


def stated_architecture(registry: "Registry", config: CheckpointConfig, stated: Layers) -> ArchitectureMatch | None:
    """Return the architecture, converter and implementation that layers state; None if they state none.

    Raises:
        UnknownNameError: If no plugin provides one of them.
    """
    name, converter = stated.get(f"{GROUP}.architecture"), stated.get(f"{GROUP}.converter")
    if name is None:
        return None
    implementation = _checked_implementation(registry, stated.get(f"{GROUP}.implementation", NATIVE))
    architecture = registry.architectures.find(name)
    if implementation != NATIVE:
        match = _Search(registry, config, implementation=implementation).fallback(name)
        architecture = None if match is None else match.architecture
    if architecture is None:
        where = stated.origin(f"{GROUP}.architecture")
        available = ", ".join(registry.architectures.names())
        message = f"Unknown architecture {name!r} of the implementation {implementation!r}, stated in {where}. "
        raise UnknownNameError(f"{message}Available: {available}")
    return ArchitectureMatch(
        architecture, None if converter is None else registry.converters.get(converter), implementation
    )


def _checked_implementation(registry: "Registry", requested: str) -> str:
    allowed = (AUTO, *sorted({NATIVE, *(entry.spec.implementation for entry in registry.fallbacks.entries())}))
    requested = SYNONYMS.get(requested, requested)
    if requested in allowed:
        return requested
    message = f"model_impl={requested!r}: expected one of {', '.join(map(repr, allowed))}"
    raise InvalidInputError(message, parameter="model_impl")


@dataclass
class _Search:
    """The search for the architecture of a model; see ``choose_architecture``.

    Attributes:
        reasons: Why fallbacks that match the name were not used.
    """

    registry: "Registry"
    config: CheckpointConfig
    convert: str = AUTO
    pooling: str | None = None
    classifies: bool = False
    implementation: str = AUTO
    reasons: list[str] = field(default_factory=list)

    def by_name(self, names: list[str]) -> ArchitectureMatch | None:
        """The first native record of one of the names, else of the backbone of its family."""
        if self.implementation not in (AUTO, NATIVE):
            return None
        find = self.registry.architectures.find
        for name in names:
            native = find(name)
            if native is not None:
                return ArchitectureMatch(native, self._converter_of(name, native))
        for name in names:
            relative = next(filter(None, map(find, backbone_names(name))), None)
            if relative is None or (name.endswith(MEDIA_CLASSIFIERS) and "image" in relative.spec.modalities):
                continue  # the head of such a classifier reads the states of images, which converters do not
            converter = self._converter_for(name)
            if converter is not None:
                return ArchitectureMatch(relative, converter)
        return None

    def by_fallback(self, names: list[str]) -> ArchitectureMatch | None:
        """The first record that a fallback resolves one of the names to, else the backbone of its family."""
        for name in names:
            match = self.fallback(name)
            if match is not None:
                return match._replace(converter=self._converter_of(name, match.architecture))
        for name in names:
            converter = self._converter_for(name)
            match = None if converter is None else next(filter(None, map(self.fallback, backbone_names(name))), None)
            if match is not None:
                return match._replace(converter=converter)
        return None

    def fallback(self, name: str) -> ArchitectureMatch | None:
        """The architecture that the fallback with the longest matching pattern resolves to, without a converter."""
        if self.convert == "none" and name.endswith(GENERATING):
            self.reasons.append(f"convert='none' does not allow removing the head of {name}")
            return None
        matches = [
            (len(pattern), entry)
            for entry in self.registry.fallbacks.entries()
            for pattern in entry.spec.patterns
            if fnmatchcase(name, pattern) and self.implementation in (AUTO, entry.spec.implementation)
        ]
        for _, entry in sorted(matches, key=lambda match: match[0], reverse=True):
            architecture = self._resolved(entry, name)
            if architecture is not None:
                return ArchitectureMatch(architecture, None, entry.spec.implementation)
        return None

    def _resolved(self, entry: "Entry[FallbackSpec]", name: str) -> Entry[ArchitectureSpec] | None:
        with blamed_plugin(entry, f"failed on {name!r}"):
            spec = entry.load()(name, self.config)
            if not isinstance(spec, str | ArchitectureSpec):
                raise TypeError(f"it returned {spec!r}; expected an ArchitectureSpec or a string")
        if isinstance(spec, str):
            self.reasons += [] if spec in self.reasons else [spec]
            return None
        native = self.registry.architectures.find(name)
        return Entry(spec=spec if native is None else _with_defaults_of(native.spec, spec), origin=entry.origin)

    def _converter_of(self, name: str, native: Entry[ArchitectureSpec]) -> "Entry[ConverterSpec] | None":
        """The converter of an architecture that has a record."""
        tasks, convert, converters = native.spec.tasks, self.convert, self.registry.converters
        if convert == REWARD:
            convert = "none" if "token_classify" in tasks else "embed"
        if convert == "none" or convert in tasks:
            return None
        if convert != AUTO:
            return converters.get(convert)
        if self.classifies and "classify" not in tasks:
            return converters.get("classify")
        return None if tasks else self._converter_for(name)

    def _converter_for(self, name: str) -> "Entry[ConverterSpec] | None":
        """The converter with the longest matching pattern; converters for the requested pooling type are preferred."""
        if self.convert == "none":
            return None
        if self.convert != AUTO:
            return self.registry.converters.get("embed" if self.convert == REWARD else self.convert)
        matches = [
            ((self.pooling is not None and self.pooling in entry.spec.pooling, len(pattern)), entry)
            for entry in self.registry.converters.entries()
            for pattern in entry.spec.architectures
            if fnmatchcase(name, pattern) and (not entry.spec.pooling or (self.pooling or "") in entry.spec.pooling)
        ]
        return max(matches, key=lambda pair: pair[0])[1] if matches else None


def _with_defaults_of(native: ArchitectureSpec, spec: ArchitectureSpec) -> ArchitectureSpec:
    """The record of another implementation with the pooling, labels and positions of the native record."""
    return replace(
        spec,
        pooling=native.pooling,
        output=replace(spec.output, num_labels=native.output.num_labels),
        text=replace(spec.text, positions=native.text.positions),
    )


def backbone_names(name: str) -> Iterator[str]:
    """Yield the names under which the backbone of the same family may be registered."""
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    if suffix is not None:
        yield from (f"{name.removesuffix(suffix)}{backbone}" for backbone in BACKBONES)


def with_extra_heads(repository: "Repository", config: CheckpointConfig, *, allow_pickle: bool) -> CheckpointConfig:
    """Return config.json with the architecture that also reads the extra weight files of the folder.

    The config is unchanged if no such architecture exists, or if files are missing. If the files are pickles and
    these are not allowed, the config is unchanged and a warning is logged.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or not names:
        return config
    for entry in repository.registry.architectures.entries():
        layout = entry.spec.checkpoint
        if not layout.extra_files or names[0] not in layout.supersedes:
            continue
        candidates = [extra_file(repository.transformer_path, name) for name in layout.extra_files]
        paths = [path for path in candidates if path is not None]
        if len(paths) < len(candidates):
            continue
        if any(path.suffix == PICKLE_SUFFIX for path in paths) and not allow_pickle:
            files = ", ".join(path.name for path in paths)
            logger.warning(
                "%s: ignoring the extra heads %s, which are pickles: allow_pickle=True loads them with "
                "weights_only=True",
                repository.model,
                files,
            )
            continue
        return config.overridden({"architectures": [entry.spec.name]})
    return config
