"""ConfigSource: config.json of one model, for the checkpoint formats that read it. Does not import torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond.model.layers import Layer
from millpond.model.options import Overrides
from millpond.model.repository import Repository, read_format
from millpond.types.config import CheckpointConfig

if TYPE_CHECKING:
    from millpond.plugin.registry import Registry
    from millpond.plugin.specs import ArchitectureSpec


@dataclass(frozen=True, kw_only=True)
class ConfigSource:
    """config.json of one model.

    Attributes:
        repository: The files of the model.
        config: config.json with the caller's overrides and the defaults of the architecture.
        stored: config.json without them.
        overrides: The caller's overrides.
        architecture: The record of the architecture; None if it is unknown.
        tasks: The tasks of the architecture, or of its converter.
        is_converted: True if a converter turns the architecture into a pooling model.
        is_foreign: True if a plugin that is not built in provides the architecture or the converter.
    """

    repository: Repository
    config: CheckpointConfig
    stored: CheckpointConfig
    overrides: Overrides = None
    architecture: "ArchitectureSpec | None" = None
    tasks: tuple[str, ...] = ()
    is_converted: bool = False
    is_foreign: bool = False


def read_config(registry: "Registry", source: ConfigSource) -> Iterator[Layer]:
    """Yield the layers that the checkpoint formats read from config.json.

    Raises:
        CheckpointError: If a value is invalid, or not supported.
        ComponentError: If the checkpoint format of a plugin fails.
    """
    for entry in sorted(registry.checkpoint_formats.entries(), key=lambda entry: -entry.spec.priority):
        if entry.spec.reads_config:
            yield from read_format(entry, source)
