"""The file reef.json: pooling, prompts, maximum length and modules of a Reef checkpoint."""

from collections.abc import Mapping
from typing import Any

from millpond.model.files import inside, read_object
from millpond.model.layers import Layer
from millpond.model.repository import Repository
from millpond.model.spec import ModuleSettings

FILE = "reef.json"
KEYS = {
    "pooler_config.seq_pooling_type": "pooling",
    "embedding.normalizes": "normalize",
    "embedding.similarity": "similarity",
    "files.max_length": "max_tokens",
    "prompting.prompts": "prompts",
}
"""The keys of the file by path."""


def read_reef(repository: Repository) -> list[Layer]:
    """Return the settings in reef.json.

    Raises:
        CheckpointError: If a file is invalid, or a module is outside the folder.
    """
    settings = read_object(repository.path / FILE)
    before, after = (_modules(repository, settings.get(key, [])) for key in ("before_pooling", "after_pooling"))
    values = {path: settings.get(key) for path, key in KEYS.items()}
    modules = {"modules.listed": (*before, *after), "modules.before": before, "modules.after": after}
    return [Layer(FILE, {**values, **modules}, KEYS)]


def gate_size(config: Mapping[str, Any], size: int | None) -> int | None:
    """Return the number of dimensions that a TideGate keeps."""
    kept = config.get("kept")
    return kept if isinstance(kept, int) else size


def _modules(repository: Repository, listed: list[Mapping[str, str]]) -> tuple[ModuleSettings, ...]:
    modules = []
    for line in listed:
        folder = inside(repository.path, line["folder"], written_in=repository.path / FILE)
        modules.append(ModuleSettings(type=line["type"], path=folder, config=read_object(folder / "config.json")))
    return tuple(modules)
