"""Repository: a local folder of a model's files, read as data. Knows nothing of torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.loading.files import read_object
from millpond.plugin.blame import blamed, breach, described, is_foreign
from millpond.plugin.manager import get_plugin_manager
from millpond.types.checkpoint import CheckpointFacts, facts_fault, merge_facts
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import CheckpointFormatSpec

OF_IMAGES, OF_ALL = "preprocessor_config.json", "processor_config.json"


@dataclass(frozen=True)
class Repository:
    """A local folder of a model's files.

    Attributes:
        model: The name under which it was asked for.
        path: The folder.
        source: The source that found it.
        route: Of a model whose texts take several routes, the one that is meant; None for the main one.
        plugins: The records of plugins, whose formats read the files; None for those of all installed plugins.
    """

    model: str
    path: Path
    source: str
    route: str | None = None
    plugins: "Registry | None" = field(default=None, repr=False, compare=False)

    @property
    def registry(self) -> "Registry":
        """The records of plugins."""
        return get_plugin_manager().registry if self.plugins is None else self.plugins

    @cached_property
    def readings(self) -> "tuple[tuple[Entry[CheckpointFormatSpec], CheckpointFacts], ...]":
        """The checkpoint formats that read its files, the highest priority first, each with what it states.

        Raises:
            CheckpointError: If a file is damaged, or states what is not supported.
            ComponentError: If the format of a plugin fails.
        """
        formats = sorted(self.registry.checkpoint_formats.entries(), key=lambda entry: -entry.spec.priority)
        there = [entry for entry in formats if any(any(self.path.glob(name)) for name in entry.spec.files)]
        found = [(entry, _read(entry, self)) for entry in there]
        return tuple((entry, facts) for entry, facts in found if facts is not None)

    @cached_property
    def facts(self) -> CheckpointFacts:
        """What its files state beside config.json; of a value that several formats state, that of the first."""
        return reduce(merge_facts, [facts for _, facts in self.readings], CheckpointFacts())

    @cached_property
    def transformer_path(self) -> Path:
        """The folder with config.json and the weights: usually the repository itself."""
        return self.facts.folder or self.path

    @cached_property
    def config(self) -> CheckpointConfig:
        """config.json; or what a checkpoint format states in its place.

        Raises:
            CheckpointError: If there is none, or it is damaged.
        """
        if self.facts.config is not None:
            return CheckpointConfig(self.facts.config)
        path = self.transformer_path / "config.json"
        if not path.exists():
            there = ", ".join(sorted(item.name for item in self.path.iterdir())) or "nothing"
            message = f"{self.path} has no config.json, so it is not a model's folder; it holds: {there}"
            raise CheckpointError(message)
        try:
            return CheckpointConfig(read_object(path))
        except RecursionError as error:
            message = f"{path} is nested too deep to be a model's config"
            raise CheckpointError(message) from error

    @cached_property
    def tokenizer_config(self) -> Mapping[str, Any]:
        """tokenizer_config.json; empty if there is none."""
        return read_object(self.transformer_path / "tokenizer_config.json")


def repository_of(ctx: "Context") -> Repository:
    """The repository that a context's model was loaded from."""
    return Repository(ctx.model.model, Path(ctx.model.identity.path), ctx.model.identity.source, plugins=ctx.registry)


def _read(entry: "Entry[CheckpointFormatSpec]", repository: Repository) -> CheckpointFacts | None:
    with blamed(entry if is_foreign(entry) else None, "failed to read the checkpoint"):
        found = entry.load()(repository)
    if found is not None and not isinstance(found, CheckpointFacts):
        wanted = "millpond.types.checkpoint.CheckpointFacts or None"
        raise breach(entry, f"it returned {described(found)}; expected {wanted}")
    fault = facts_fault(found) if found is not None and is_foreign(entry) else None
    if fault is not None:
        raise breach(entry, f"it returned CheckpointFacts with {fault}")
    return found


def read_image_processor(ctx: "Context") -> tuple[Path, dict[str, Any]]:
    """The file that speaks of images, and what it says; of two, transformers takes that of the whole processor.

    Raises:
        CheckpointError: If a file is damaged.
    """
    folder = repository_of(ctx).transformer_path
    inner = read_object(folder / OF_ALL).get("image_processor")
    if isinstance(inner, dict) and inner:
        return folder / OF_ALL, inner
    return folder / OF_IMAGES, read_object(folder / OF_IMAGES)
