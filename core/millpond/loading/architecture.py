"""Which architecture serves a config, by its own name or that of a relative, and which converter it needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from millpond.config import CheckpointConfig
from millpond.errors import CheckpointError, UnknownNameError

if TYPE_CHECKING:
    from millpond.registry import Entry, Registry
    from millpond.specs import ArchitectureSpec, ConverterSpec

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


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a model is loaded as.

    Attributes:
        name: The name in config.json.
        architecture: The record that serves it: of that name, or of the family's backbone.
        converter: The record of the converter that makes it a pooling model; None for a native one.
    """

    name: str
    architecture: "Entry[ArchitectureSpec]"
    converter: "Entry[ConverterSpec] | None"

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it serves."""
        return self.architecture.spec.tasks if self.converter is None else self.converter.spec.tasks


def choose_architecture(
    registry: "Registry",
    config: CheckpointConfig,
    convert: str,
    *,
    pooling: str | None = None,
    classifies: bool = False,
) -> Chosen:
    """The architecture that serves a config, and the converter it needs.

    Args:
        registry: All that plugins brought.
        config: config.json with the overrides.
        convert: The converter that the caller named; "auto" chooses, "none" forbids.
        pooling: The pooling type that the caller named, for converters that are for one alone.
        classifies: Whether other files of the model say that it classifies, such as those of a CrossEncoder.

    Raises:
        CheckpointError: If config.json names none.
        UnknownNameError: If nothing serves those it names, or there is no such converter.
    """
    names = config.get("architectures")
    there = ", ".join(registry.architectures.names()) or "none"
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        message = (
            f"config.json has no list 'architectures', which says what the model is; got {names!r}. "
            f"Say it with hf_overrides={{'architectures': [...]}}; there are: {there}"
        )
        raise CheckpointError(message)
    for name in names:
        native = registry.architectures.find(name)
        if native is not None:
            converter = _for_native(registry, native, convert, pooling=pooling, classifies=classifies)
            return Chosen(name=name, architecture=native, converter=converter)
    for name in names:
        relative = next((entry for other in _relatives(name) if (entry := registry.architectures.find(other))), None)
        converter = None if relative is None else _by_name(registry, name, convert, pooling)
        if relative is not None and converter is not None:
            return Chosen(name=name, architecture=relative, converter=converter)
    message = (
        f"no plugin brings the architecture {' or '.join(map(repr, names))}; there are: {there}. An installed "
        "plugin whose register_architectures yields that name would bring it; `millpond plugins list` shows what is "
        "installed and what failed to load. hf_overrides={'architectures': [...]} chooses one that is there"
    )
    raise UnknownNameError(message)


def _for_native(
    registry: "Registry", native: "Entry[ArchitectureSpec]", convert: str, *, pooling: str | None, classifies: bool
) -> "Entry[ConverterSpec] | None":
    tasks = native.spec.tasks
    if convert == "none" or convert in tasks:
        return None
    if convert != "auto":
        return registry.converters.get(convert)
    if classifies and "classify" not in tasks:
        return registry.converters.get("classify")
    return None if tasks else _by_name(registry, native.spec.name, convert, pooling)


def _by_name(registry: "Registry", name: str, convert: str, pooling: str | None) -> "Entry[ConverterSpec] | None":
    """The converter whose pattern says most of an architecture's name; those for the pooling type asked go first."""
    if convert == "none":
        return None
    if convert != "auto":
        return registry.converters.get(convert)
    found = [
        ((pooling in entry.spec.pooling, len(pattern)), entry)
        for entry in registry.converters.entries()
        for pattern in entry.spec.architectures
        if fnmatchcase(name, pattern) and (not entry.spec.pooling or pooling in entry.spec.pooling)
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _relatives(name: str) -> Iterator[str]:
    """The names under which the backbone of the same family may be registered."""
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    if suffix is not None:
        yield from (f"{name.removesuffix(suffix)}{backbone}" for backbone in BACKBONES)
