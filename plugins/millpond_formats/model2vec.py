"""model2vec: a table of token embeddings, by the name that config.json gives it."""

from millpond.loading.files import read_object
from millpond.loading.repository import Repository
from millpond.types.checkpoint import CheckpointFacts, TextFacts
from millpond.types.config import Choice
from millpond_formats.static import is_static, static_config

FILE = "config.json"


def read_model2vec(repository: Repository) -> CheckpointFacts | None:
    """What a table of tokens is; None for any other model.

    Raises:
        CheckpointError: If config.json is damaged, or there is no table.
    """
    if not is_static(read_object(repository.path / FILE)):
        return None
    return CheckpointFacts(
        config=static_config(repository.path),
        text=TextFacts(special_tokens=Choice(value=False, origin=f"{FILE} (architectures)")),
    )
