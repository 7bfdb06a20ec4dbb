"""The file addon_name.json of a checkpoint: pooling and prompts."""

from millpond.loading.files import read_object
from millpond.loading.repository import Repository
from millpond.types.checkpoint import CheckpointFacts, PoolingFacts, PromptFacts, stated

FILE = "addon_name.json"


def read_addon_name(repository: Repository) -> CheckpointFacts:
    """Return the settings in addon_name.json.

    Raises:
        CheckpointError: If the file is not a JSON object.
    """
    settings = read_object(repository.path / FILE)
    pooling = settings.get("pooling")
    return CheckpointFacts(
        pooling=PoolingFacts(types=stated(None if pooling is None else (pooling,), f"{FILE} (pooling)")),
        prompts=PromptFacts(named=stated(settings.get("prompts"), f"{FILE} (prompts)")),
    )
