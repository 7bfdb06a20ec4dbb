"""The file reef.json: pooling, prompts, maximum length and modules of a Reef checkpoint."""

from collections.abc import Mapping
from typing import Any

from millpond.loading.files import inside, read_object
from millpond.loading.repository import Repository
from millpond.types.checkpoint import (
    CheckpointFacts,
    EmbeddingFacts,
    ModuleChain,
    ModuleFacts,
    PoolingFacts,
    PromptFacts,
    TextFacts,
    stated,
)

FILE = "reef.json"


def read_reef(repository: Repository) -> CheckpointFacts:
    """Return the settings in reef.json.

    Raises:
        CheckpointError: If a file is invalid, or a module is outside the folder.
    """
    settings = read_object(repository.path / FILE)
    before, after = (_modules(repository, settings.get(key, [])) for key in ("before_pooling", "after_pooling"))
    pooling = settings.get("pooling")
    return CheckpointFacts(
        pooling=PoolingFacts(
            types=stated(None if pooling is None else (pooling,), f"{FILE} (pooling)"),
            normalize=stated(settings.get("normalize"), f"{FILE} (normalize)"),
        ),
        modules=ModuleChain(listed=(*before, *after), before=before, after=after),
        text=TextFacts(max_length=stated(settings.get("max_tokens"), f"{FILE} (max_tokens)")),
        prompts=PromptFacts(named=stated(settings.get("prompts"), f"{FILE} (prompts)")),
        embedding=EmbeddingFacts(similarity=stated(settings.get("similarity"), f"{FILE} (similarity)")),
    )


def gate_size(config: Mapping[str, Any], size: int | None) -> int | None:
    """Return the number of dimensions that a TideGate keeps."""
    kept = config.get("kept")
    return kept if isinstance(kept, int) else size


def _modules(repository: Repository, listed: list[Mapping[str, str]]) -> tuple[ModuleFacts, ...]:
    modules = []
    for line in listed:
        folder = inside(repository.path, line["folder"], written_in=repository.path / FILE)
        modules.append(ModuleFacts(type=line["type"], path=folder, config=read_object(folder / "config.json")))
    return tuple(modules)
