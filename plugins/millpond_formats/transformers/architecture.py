"""Choice of the architecture record and converter for a config.json, with fallbacks to related architectures."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from millpond.model.files import extra_file
from millpond.model.layers import Layers
from millpond.model.options import REWARD
from millpond.plugin.blame import blamed, is_foreign
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


@dataclass(frozen=True, kw_only=True)
class ArchitectureMatch:
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
    requirements = _Requirements(convert=convert, pooling=pooling, classifies=classifies, implementation=requested)
    match = _match_by_name(registry, names, requirements)
    if match is not None:
        return match
    fallbacks = _Fallbacks(registry, config, requirements)
    match = fallbacks.choose(names)
    if match is not None:
        return match
    hint = (
        "Install a plugin whose register_architectures yields that name (`millpond plugins list` shows installed "
        "plugins and load failures), or choose another architecture with hf_overrides={'architectures': [...]}"
    )
    if requested != "auto":
        hint += f". model_impl={implementation!r} was requested: 'auto' allows every implementation"
    reasons = f"; {'; '.join(fallbacks.reasons)}" if fallbacks.reasons else ""
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
        requirements = _Requirements(convert=AUTO, pooling=None, classifies=False, implementation=implementation)
        match = _Fallbacks(registry, config, requirements).find(name)
        architecture = None if match is None else match[0]
    if architecture is None:
        where = stated.origin(f"{GROUP}.architecture")
        available = ", ".join(registry.architectures.names())
        message = f"Unknown architecture {name!r} of the implementation {implementation!r}, stated in {where}. "
        raise UnknownNameError(f"{message}Available: {available}")
    return ArchitectureMatch(
        architecture=architecture,
        converter=None if converter is None else registry.converters.get(converter),
        implementation=implementation,
    )


@dataclass(frozen=True, kw_only=True)
class _Requirements:
    """The caller's requirements; see ``choose_architecture``."""

    convert: str
    pooling: str | None
    classifies: bool
    implementation: str

    def allows(self, implementation: str) -> bool:
        """True if an implementation may be used."""
        return self.implementation in (AUTO, implementation)


def implementations(registry: "Registry") -> list[str]:
    """The names of all implementations, as ``model_impl`` accepts them."""
    return sorted({NATIVE, *(entry.spec.implementation for entry in registry.fallbacks.entries())})


def _checked_implementation(registry: "Registry", requested: str) -> str:
    allowed = (AUTO, *implementations(registry))
    requested = SYNONYMS.get(requested, requested)
    if requested in allowed:
        return requested
    message = f"model_impl={requested!r}: expected one of {', '.join(map(repr, allowed))}"
    raise InvalidInputError(message, parameter="model_impl")


def _match_by_name(registry: "Registry", names: list[str], requirements: _Requirements) -> ArchitectureMatch | None:
    """The first native record of one of the names, else of the backbone of its family."""
    if not requirements.allows(NATIVE):
        return None
    find = registry.architectures.find

    for name in names:
        native = find(name)
        if native is not None:
            return ArchitectureMatch(architecture=native, converter=_for_native(registry, name, native, requirements))
    for name in names:
        relative = next((entry for other in backbone_names(name) if (entry := find(other))), None)
        if name.endswith(MEDIA_CLASSIFIERS) and relative is not None and "image" in relative.spec.modalities:
            continue  # its head reads the states of images, which converters do not
        converter = None if relative is None else _by_name(registry, name, requirements.convert, requirements.pooling)
        if relative is not None and converter is not None:
            return ArchitectureMatch(architecture=relative, converter=converter)
    return None


@dataclass
class _Fallbacks:
    """Search for a fallback record, which serves architectures of other names.

    Attributes:
        reasons: Why fallbacks that match the name were not used.
    """

    registry: "Registry"
    config: CheckpointConfig
    requirements: _Requirements
    reasons: list[str] = field(default_factory=list)

    def choose(self, names: list[str]) -> ArchitectureMatch | None:
        for name in names:
            match = self.find(name)
            if match is not None:
                entry, implementation = match
                converter = _for_native(self.registry, name, entry, self.requirements)
                return ArchitectureMatch(architecture=entry, converter=converter, implementation=implementation)
        for name in names:
            converter = _by_name(self.registry, name, self.requirements.convert, self.requirements.pooling)
            match = None if converter is None else next(filter(None, map(self.find, backbone_names(name))), None)
            if match is not None:
                entry, implementation = match
                return ArchitectureMatch(architecture=entry, converter=converter, implementation=implementation)
        return None

    def find(self, name: str) -> "tuple[Entry[ArchitectureSpec], str] | None":
        """Return the architecture that the first matching fallback resolves to, and its implementation."""
        if self.requirements.convert == "none" and name.endswith(GENERATING):
            self.reasons.append(f"convert='none' does not allow removing the head of {name}")
            return None
        matches = [
            (len(pattern), entry)
            for entry in self.registry.fallbacks.entries()
            for pattern in entry.spec.patterns
            if fnmatchcase(name, pattern) and self.requirements.allows(entry.spec.implementation)
        ]
        for _, entry in sorted(matches, key=lambda match: match[0], reverse=True):
            architecture = self._resolved(entry, name)
            if architecture is not None:
                return architecture, entry.spec.implementation
        return None

    def _resolved(self, entry: "Entry[FallbackSpec]", name: str) -> Entry[ArchitectureSpec] | None:
        owner = entry if is_foreign(entry) else None
        with blamed(owner, f"failed on {name!r}"):
            spec = entry.load()(name, self.config)
            if not isinstance(spec, str | ArchitectureSpec):
                raise TypeError(f"it returned {spec!r}; expected an ArchitectureSpec or a string")
        if isinstance(spec, str):
            self.reasons += [] if spec in self.reasons else [spec]
            return None
        native = self.registry.architectures.find(name)
        return Entry(spec=spec if native is None else _with_defaults_of(native.spec, spec), origin=entry.origin)


def _with_defaults_of(native: ArchitectureSpec, spec: ArchitectureSpec) -> ArchitectureSpec:
    """The record of another implementation with the pooling, labels and positions of the native record."""
    return replace(
        spec,
        pooling=native.pooling,
        output=replace(spec.output, num_labels=native.output.num_labels),
        text=replace(spec.text, positions=native.text.positions),
    )


def _for_native(
    registry: "Registry", name: str, native: Entry[ArchitectureSpec], requirements: _Requirements
) -> "Entry[ConverterSpec] | None":
    tasks, convert = native.spec.tasks, requirements.convert
    if convert == REWARD:
        convert = "none" if "token_classify" in tasks else "embed"
    if convert == "none" or convert in tasks:
        return None
    if convert != AUTO:
        return registry.converters.get(convert)
    if requirements.classifies and "classify" not in tasks:
        return registry.converters.get("classify")
    return None if tasks else _by_name(registry, name, convert, requirements.pooling)


def _by_name(registry: "Registry", name: str, convert: str, pooling: str | None) -> "Entry[ConverterSpec] | None":
    """The converter with the longest matching pattern; converters for the requested pooling type are preferred."""
    if convert == "none":
        return None
    if convert != AUTO:
        return registry.converters.get("embed" if convert == REWARD else convert)
    matches = [
        ((pooling is not None and pooling in entry.spec.pooling, len(pattern)), entry)
        for entry in registry.converters.entries()
        for pattern in entry.spec.architectures
        if fnmatchcase(name, pattern) and (not entry.spec.pooling or (pooling or "") in entry.spec.pooling)
    ]
    return max(matches, key=lambda pair: pair[0])[1] if matches else None


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
