"""Which architecture serves a config, by its own name or that of a relative, and which converter it needs."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from millpond.loading.files import extra_file
from millpond.plugin.blame import blamed, is_foreign
from millpond.plugin.registry import Entry
from millpond.plugin.specs import ArchitectureSpec
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError, InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond.plugin.registry import Registry
    from millpond.plugin.specs import ConverterSpec, FallbackSpec

# What stands behind the family's name: "Qwen3" in "Qwen3ForCausalLM".
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
BACKBONES = ("Model", "ForCausalLM", "ForConditionalGeneration")
GENERATING = ("ForCausalLM", "ForConditionalGeneration", "ForMaskedLM", "LMHeadModel", "ChatModel")
PICKLED = ".pt"  # the suffix of files with weights of further heads that are pickles
logger = logging.getLogger(__name__)
AUTO, NATIVE = "auto", "native"
REWARD = "reward"  # as vLLM's code of 2025 has it: rewards of what gives such, else the hidden states of tokens
SYNONYMS = {"vllm": NATIVE, "millpond": NATIVE}


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a model is loaded as.

    Attributes:
        name: The name in config.json.
        architecture: The record that serves it: of that name, or of the family's backbone.
        converter: The record of the converter that makes it a pooling model; None for a native one.
        implementation: The implementation, as in ``model_impl``.
    """

    name: str
    architecture: Entry[ArchitectureSpec]
    converter: "Entry[ConverterSpec] | None"
    implementation: str = NATIVE

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it serves."""
        return self.architecture.spec.tasks if self.converter is None else self.converter.spec.tasks


def with_architecture(registry: "Registry", config: CheckpointConfig) -> CheckpointConfig:
    """config.json, where it names no architecture with the backbone of the family that its ``model_type`` names.

    Some published files lack the one and have the other, such as those of DeBERTa and of BERT's smallest models.
    """
    kind = config.get("model_type")
    if config.get("architectures") or not isinstance(kind, str):
        return config
    wanted = f"{kind}Model".replace("-", "").replace("_", "").lower()
    found = [name for name in registry.architectures.names() if name.lower() == wanted]
    return config.overridden({"architectures": found}) if found else config


def choose_architecture(
    registry: "Registry",
    config: CheckpointConfig,
    convert: str,
    *,
    pooling: str | None = None,
    classifies: bool = False,
    implementation: str = "auto",
) -> Chosen:
    """The architecture that serves a config, and the converter it needs.

    Args:
        registry: All that plugins brought.
        config: config.json with the overrides.
        convert: The converter that the caller named; "auto" chooses, "none" forbids.
        pooling: The pooling type that the caller named, for converters that are for one alone.
        classifies: Whether other files of the model say that it classifies, such as those of a CrossEncoder.
        implementation: Whose code is to compute it; "auto" takes what has a record of its own, else what stands in.

    Raises:
        CheckpointError: If config.json names none.
        UnknownNameError: If nothing serves those it names, or there is no such converter.
        InvalidInputError: If there is no such implementation.
    """
    names = config.get("architectures")
    there = ", ".join(registry.architectures.names()) or "none"
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        message = (
            f"config.json has no list 'architectures', which says what the model is; got {names!r}. "
            f"Say it with hf_overrides={{'architectures': [...]}}; there are: {there}"
        )
        raise CheckpointError(message)
    asked = _checked_implementation(registry, implementation)
    wanted = _Wanted(convert=convert, pooling=pooling, classifies=classifies, implementation=asked)
    found = _recorded_one(registry, names, wanted)
    if found is not None:
        return found
    standing_in = _Fallbacks(registry, config, wanted)
    found = standing_in.choose(names)
    if found is not None:
        return found
    ways = (
        "An installed plugin whose register_architectures yields that name would bring it; `millpond plugins list` "
        "shows what is installed and what failed to load. hf_overrides={'architectures': [...]} chooses one that is "
        "there"
    )
    if asked != "auto":
        ways += f". This was model_impl={implementation!r}: 'auto' takes any that there is"
    also = f"; {'; '.join(standing_in.reasons)}" if standing_in.reasons else ""
    raise UnknownNameError(
        f"no plugin brings the architecture {' or '.join(map(repr, names))}; there are: {there}{also}. {ways}"
    )


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What is asked of the choice; see ``choose_architecture``."""

    convert: str
    pooling: str | None
    classifies: bool
    implementation: str

    def allows(self, implementation: str) -> bool:
        """Return True if an implementation may be used."""
        return self.implementation in (AUTO, implementation)


def implementations(registry: "Registry") -> list[str]:
    """Whose code may compute a model, as ``model_impl`` names them."""
    return sorted({NATIVE, *(entry.spec.implementation for entry in registry.fallbacks.entries())})


def _checked_implementation(registry: "Registry", asked: str) -> str:
    there = implementations(registry)
    asked = SYNONYMS.get(asked, asked)
    if asked in (AUTO, *there):
        return asked
    message = f"model_impl={asked!r}: expected one of {', '.join(map(repr, (AUTO, *there)))}"
    raise InvalidInputError(message, parameter="model_impl")


def _recorded_one(registry: "Registry", names: list[str], wanted: _Wanted) -> Chosen | None:
    """What serves a name, or the backbone of its family, by a record of that name."""
    if not wanted.allows(NATIVE):
        return None
    find = registry.architectures.find

    for name in names:
        native = find(name)
        if native is not None:
            return Chosen(name=name, architecture=native, converter=_for_native(registry, name, native, wanted))
    for name in names:
        relative = next((entry for other in backbone_names(name) if (entry := find(other))), None)
        converter = None if relative is None else _by_name(registry, name, wanted.convert, wanted.pooling)
        if relative is not None and converter is not None:
            return Chosen(name=name, architecture=relative, converter=converter)
    return None


@dataclass
class _Fallbacks:
    """Looks for a record that serves a name which is not its own.

    Attributes:
        reasons: Why those that could have did not.
    """

    registry: "Registry"
    config: CheckpointConfig
    wanted: _Wanted
    reasons: list[str] = field(default_factory=list)

    def choose(self, names: list[str]) -> Chosen | None:
        for name in names:
            match = self._find(name)
            if match is not None:
                entry, implementation = match
                converter = _for_native(self.registry, name, entry, self.wanted)
                return Chosen(name=name, architecture=entry, converter=converter, implementation=implementation)
        for name in names:
            converter = _by_name(self.registry, name, self.wanted.convert, self.wanted.pooling)
            match = None if converter is None else next(filter(None, map(self._find, backbone_names(name))), None)
            if match is not None:
                entry, implementation = match
                return Chosen(name=name, architecture=entry, converter=converter, implementation=implementation)
        return None

    def _find(self, name: str) -> "tuple[Entry[ArchitectureSpec], str] | None":
        """Return the architecture that the first matching fallback describes, and its implementation."""
        if self.wanted.convert == "none" and name.endswith(GENERATING):
            self.reasons.append(f"convert='none' forbids to leave out the head of {name}")
            return None
        fits = [
            (len(pattern), entry)
            for entry in self.registry.fallbacks.entries()
            for pattern in entry.spec.patterns
            if fnmatchcase(name, pattern) and self.wanted.allows(entry.spec.implementation)
        ]
        for _, entry in sorted(fits, key=lambda fit: fit[0], reverse=True):
            architecture = self._resolved(entry, name)
            if architecture is not None:
                return architecture, entry.spec.implementation
        return None

    def _resolved(self, entry: "Entry[FallbackSpec]", name: str) -> Entry[ArchitectureSpec] | None:
        owner = entry if is_foreign(entry) else None
        with blamed(owner, f"failed on {name!r}"):
            spec = entry.load()(name, self.config)
            if not isinstance(spec, str | ArchitectureSpec):
                raise TypeError(f"it returned {spec!r}; expected an ArchitectureSpec, or text")
        if isinstance(spec, str):
            self.reasons += [] if spec in self.reasons else [spec]
            return None
        native = self.registry.architectures.find(name)
        return Entry(spec=spec if native is None else _with_defaults_of(native.spec, spec), origin=entry.origin)


def _with_defaults_of(native: ArchitectureSpec, spec: ArchitectureSpec) -> ArchitectureSpec:
    """Return the record of another implementation with the pooling, labels and positions of the native record."""
    return replace(
        spec,
        pooling=native.pooling,
        output=replace(spec.output, num_labels=native.output.num_labels),
        text=replace(spec.text, positions=native.text.positions),
    )


def _for_native(
    registry: "Registry", name: str, native: Entry[ArchitectureSpec], wanted: _Wanted
) -> "Entry[ConverterSpec] | None":
    tasks, convert = native.spec.tasks, wanted.convert
    if convert == REWARD:
        convert = "none" if "token_classify" in tasks else "embed"
    if convert == "none" or convert in tasks:
        return None
    if convert != AUTO:
        return registry.converters.get(convert)
    if wanted.classifies and "classify" not in tasks:
        return registry.converters.get("classify")
    return None if tasks else _by_name(registry, name, convert, wanted.pooling)


def _by_name(registry: "Registry", name: str, convert: str, pooling: str | None) -> "Entry[ConverterSpec] | None":
    """The converter whose pattern says most of an architecture's name; those for the pooling type asked go first."""
    if convert == "none":
        return None
    if convert != AUTO:
        return registry.converters.get("embed" if convert == REWARD else convert)
    named = pooling or ""
    found = [
        ((pooling is not None and pooling in entry.spec.pooling, len(pattern)), entry)
        for entry in registry.converters.entries()
        for pattern in entry.spec.architectures
        if fnmatchcase(name, pattern) and (not entry.spec.pooling or named in entry.spec.pooling)
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def backbone_names(name: str) -> Iterator[str]:
    """The names under which the backbone of the same family may be registered."""
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    if suffix is not None:
        yield from (f"{name.removesuffix(suffix)}{backbone}" for backbone in BACKBONES)


def with_extra_heads(
    registry: "Registry", repository: "Repository", config: CheckpointConfig, *, allow_pickle: bool
) -> CheckpointConfig:
    """config.json with the architecture that reads the files beside the model too, if there is one and they are there.

    Where they are pickles, and those are not allowed, it stays as it is, and the log says so.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or not names:
        return config
    for entry in registry.architectures.entries():
        layout = entry.spec.checkpoint
        if not layout.extra_files or names[0] not in layout.supersedes:
            continue
        found = [extra_file(repository.transformer_path, name) for name in layout.extra_files]
        paths = [path for path in found if path is not None]
        if len(paths) < len(found):
            continue
        if any(path.suffix == PICKLED for path in paths) and not allow_pickle:
            files = ", ".join(path.name for path in paths)
            logger.warning(
                "%s: the heads beside it (%s) are pickles and left out: allow_pickle=True reads them with "
                "weights_only=True",
                repository.model,
                files,
            )
            continue
        return config.overridden({"architectures": [entry.spec.name]})
    return config
