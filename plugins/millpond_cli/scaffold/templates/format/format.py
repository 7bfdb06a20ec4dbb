"""The file addon_name.json of a checkpoint: pooling and prompts."""

from millpond.model.files import read_object
from millpond.model.repository import Repository
from millpond.model.layers import Layer

FILE = "addon_name.json"


def read_addon_name(repository: Repository) -> list[Layer]:
    """Return the settings in addon_name.json.

    Raises:
        CheckpointError: If the file is not a JSON object.
    """
    settings = read_object(repository.path / FILE)
    values = {
        "pooler_config.seq_pooling_type": settings.get("pooling"),
        "prompting.prompts": settings.get("prompts"),
    }
    return [Layer(FILE, values)]
