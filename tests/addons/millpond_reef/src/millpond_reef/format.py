"""reef.json: how a checkpoint of Reef pools, its prompts, its length and its modules."""

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
    """What reef.json states.

    Raises:
        CheckpointError: If a file is damaged, or a module is outside of the folder.
    """
    said = read_object(repository.path / FILE)
    before, after = (_modules(repository, said.get(place, [])) for place in ("before_pooling", "after_pooling"))
    pooling = said.get("pooling")
    return CheckpointFacts(
        pooling=PoolingFacts(
            types=stated(None if pooling is None else (pooling,), f"{FILE} (pooling)"),
            normalize=stated(said.get("normalize"), f"{FILE} (normalize)"),
        ),
        modules=ModuleChain(listed=(*before, *after), before=before, after=after),
        text=TextFacts(max_length=stated(said.get("max_tokens"), f"{FILE} (max_tokens)")),
        prompts=PromptFacts(named=stated(said.get("prompts"), f"{FILE} (prompts)")),
        embedding=EmbeddingFacts(similarity=stated(said.get("similarity"), f"{FILE} (similarity)")),
    )


def gate_size(config: Mapping[str, Any], size: int | None) -> int | None:
    """The dimensions that a TideGate keeps."""
    kept = config.get("kept")
    return kept if isinstance(kept, int) else size


def _modules(repository: Repository, listed: list[Mapping[str, str]]) -> tuple[ModuleFacts, ...]:
    modules = []
    for line in listed:
        folder = inside(repository.path, line["folder"], written_in=repository.path / FILE)
        modules.append(ModuleFacts(type=line["type"], path=folder, config=read_object(folder / "config.json")))
    return tuple(modules)
