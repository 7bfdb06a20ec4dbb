"""model2vec: static token embeddings, recognized by the architecture in config.json."""

from millpond.loading.files import read_object
from millpond.loading.repository import Repository
from millpond.types.checkpoint import CheckpointFacts, TextFacts
from millpond.types.config import Choice
from millpond_formats.static import is_static, static_config

FILE = "config.json"


def read_model2vec(repository: Repository) -> CheckpointFacts | None:
    """Return the facts about a model with static embeddings; None for other models.

    Raises:
        CheckpointError: If config.json is damaged, or the embeddings are missing.
    """
    if not is_static(read_object(repository.path / FILE)):
        return None
    return CheckpointFacts(
        config=static_config(repository.path),
        text=TextFacts(special_tokens=Choice(value=False, origin=f"{FILE} (architectures)")),
    )
