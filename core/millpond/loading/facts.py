"""The facts of a checkpoint: what the formats that plugins brought read of its files, merged by priority."""

from typing import TYPE_CHECKING

from millpond.plugin.blame import blamed, breach, described, is_foreign
from millpond.types.checkpoint import CheckpointFacts, merge_facts

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond.plugin.registry import Entry, Registry
    from millpond.plugin.specs import CheckpointFormatSpec


def read_facts(registry: "Registry", repository: "Repository") -> CheckpointFacts:
    """What the files of a checkpoint state beside config.json.

    Raises:
        CheckpointError: If a file is damaged, or states what is not supported.
        ComponentError: If the format of a plugin fails.
    """
    facts = CheckpointFacts()
    for entry in sorted(registry.checkpoint_formats.entries(), key=lambda entry: -entry.spec.priority):
        if any(next(repository.path.glob(pattern), None) is not None for pattern in entry.spec.files):
            facts = merge_facts(facts, _read(entry, repository) or CheckpointFacts())
    return facts


def _read(entry: "Entry[CheckpointFormatSpec]", repository: "Repository") -> CheckpointFacts | None:
    with blamed(entry if is_foreign(entry) else None, "failed to read the checkpoint"):
        found = entry.load()(repository)
    if found is None or isinstance(found, CheckpointFacts):
        return found
    raise breach(entry, f"it returned {described(found)}; expected millpond.types.checkpoint.CheckpointFacts or None")
