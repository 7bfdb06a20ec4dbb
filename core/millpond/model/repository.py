"""Repository: a local folder of a model's files, read as data. Does not import torch."""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from millpond.model.files import model_files
from millpond.model.layers import Layer, Layers, checked
from millpond.plugin.blame import blamed, breach
from millpond.plugin.manager import get_plugin_manager
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError, UnknownNameError

if TYPE_CHECKING:
    from millpond.model.config_source import ModelReader
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import CheckpointFormatSpec


class FileState(NamedTuple):
    """Values of a file that differ after its content was changed or it was replaced."""

    inode: int
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Repository:
    """A local folder of a model's files.

    Attributes:
        model: The requested name of the model.
        path: The folder.
        source: The source that found it.
        route: The selected route of a model with several routes; None for the main route.
        revision: The requested branch, tag or commit; None for the default.
        stated: Layers that take precedence over the files, of all routes.
        plugins: The records of plugins, whose checkpoint formats read the files; None for all installed plugins.
        states: The state of each file when ``record_files`` was called; empty before.
    """

    model: str
    path: Path
    source: str
    route: str | None = None
    revision: str | None = None
    stated: tuple[Layer, ...] = ()
    plugins: "Registry | None" = field(default=None, repr=False, compare=False)
    states: dict[str, FileState] = field(default_factory=dict, repr=False, compare=False)

    @property
    def registry(self) -> "Registry":
        """The records of plugins."""
        return get_plugin_manager().registry if self.plugins is None else self.plugins

    def record_files(self) -> None:
        """Record the state of each file for ``require_unchanged``, unless that was done already."""
        if not self.states:
            self.states.update(file_states(self.path))

    def require_unchanged(self) -> None:
        """Check that no file was changed or removed since ``record_files``. New files may be a user's outputs.

        Raises:
            CheckpointError: If one was: the model in memory and its files are not the same model.
        """
        current = file_states(self.path) if self.states else {}
        changed = next((name for name, state in self.states.items() if current.get(name) != state), None)
        if changed is not None:
            message = f"{self.path / changed} has changed since {self.model!r} was loaded. Load the model again"
            raise CheckpointError(message)

    @cached_property
    def readings(self) -> "tuple[tuple[Entry[CheckpointFormatSpec], tuple[Layer, ...]], ...]":
        """The checkpoint formats that read its files, highest priority first, each with the layers that it read.

        Raises:
            CheckpointError: If a file is damaged, or specifies something that is not supported.
            ComponentError: If the checkpoint format of a plugin fails.
        """
        matching = [it for it in self.registry.checkpoint_formats.by_priority() if _matches(it, self.path)]
        readings = [(entry, read_format(entry, self)) for entry in matching]
        return tuple((entry, layers) for entry, layers in readings if layers)

    @property
    def requests(self) -> tuple[Layer, ...]:
        """The layers of ``stated`` that are for the route."""
        return tuple(layer for layer in self.stated if layer.route == self.route)

    @cached_property
    def layers(self) -> Layers:
        """The layers of ``requests`` and of all files except config.json, formats with the highest priority first."""
        return Layers((*self.requests, *chain.from_iterable(layers for _, layers in self.readings)))

    @cached_property
    def transformer_path(self) -> Path:
        """The folder with config.json and the weights: usually the repository itself."""
        folder: Path = self.layers.get("files.folder", self.path)
        return folder

    @cached_property
    def reader(self) -> "ModelReader":
        """The reader of the files that describe the model as a whole, of the format with the highest priority.

        Raises:
            UnknownNameError: If no plugin has a reader.
        """
        formats = self.registry.checkpoint_formats.by_priority()
        entry = next((entry for entry in formats if entry.spec.reader is not None), None)
        if entry is None:
            available = ", ".join(it.spec.name for it in formats) or "none"
            message = (
                f"No plugin reads config.json: enable the plugin 'formats'. Available checkpoint formats: {available}"
            )
            raise UnknownNameError(message)
        with blamed(entry, "failed to read the checkpoint"):
            reader: ModelReader = entry.load("reader")(self)
        return reader

    @property
    def config(self) -> CheckpointConfig:
        """config.json, or the config that a checkpoint format states instead.

        Raises:
            CheckpointError: If config.json is missing or damaged.
        """
        return self.reader.config


def file_states(folder: Path) -> dict[str, FileState]:
    """Return the state of each file of a model that can change its results, by its name in the folder."""
    states: dict[str, FileState] = {}
    for path in model_files(folder):
        with suppress(FileNotFoundError):  # removed by another process in between
            stat = path.stat()
            states[path.relative_to(folder).as_posix()] = FileState(stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return states


def _matches(entry: "Entry[CheckpointFormatSpec]", folder: Path) -> bool:
    with blamed(entry, f"has files={entry.spec.files!r}, which cannot be matched"):
        return any(any(folder.glob(name)) for name in entry.spec.files)


def read_format(entry: "Entry[CheckpointFormatSpec]", source: object) -> tuple[Layer, ...]:
    """Return the layers that a checkpoint format reads from a ``Repository`` or a ``ConfigSource``.

    Raises:
        CheckpointError: If a file is damaged, or specifies something that is not supported.
        ComponentError: If the checkpoint format of a plugin fails.
    """
    with blamed(entry, "failed to read the checkpoint"):
        layers = entry.load()(source)
        layers = () if layers is None else tuple(layers)
    try:
        return checked(layers)
    except ValueError as error:
        raise breach(entry, f"it returned {error}") from error
